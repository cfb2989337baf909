// x of more bits than tensor cores multiply, as a sum of bf16: a row of float32 is exactly three
// rows, one of f16 two. All of them meet the weights in one reading, as rows of a kernel for bf16,
// whose sums of float32 are added up.
//
// Order mma_pieces: first + (second + third), each as that kernel's order sums it.
#pragma once
#include "kernels/cuda/sm80/number_types.cuh"

namespace stepless::kernels::sm80 {
namespace {  // of each file its own

constexpr unsigned kPieceThreads = 128;

constexpr int pieces_of(DType type) { return type == DType::f32 ? 3 : 2; }

/// A piece is what bf16 has of a number, cut off, so that no piece overflows; of NaN one is NaN.
inline __device__ uint32_t cut_pieces(float (&v)[2]) {
  const uint32_t pair = __byte_perm(__float_as_uint(v[0]), __float_as_uint(v[1]), 0x7632);
  v[0] -= low_bf16(pair), v[1] -= high_bf16(pair);
  return pair;
}

/// Two numbers of a row, `pairs` of them in all, to a thread: row r becomes rows of bf16 from
/// pieces * r on.
template <DType type>
__global__ void __launch_bounds__(kPieceThreads)
    split_x(const uint8_t* x, int64_t x_row_bytes, int pairs, uint32_t* to) {
  constexpr int kPieces = pieces_of(type);
  begin_early();
  const int pair = static_cast<int>(blockIdx.x * kPieceThreads + threadIdx.x);
  const int64_t row = blockIdx.y;
  if (pair >= pairs) return;
  const uint8_t* const from = x + row * x_row_bytes;
  float v[2];
  if constexpr (type == DType::f32) {
    const float2 both = reinterpret_cast<const float2*>(from)[pair];
    v[0] = both.x, v[1] = both.y;
  } else {
    const uint32_t both = reinterpret_cast<const uint32_t*>(from)[pair];
    v[0] = F16::low(both), v[1] = F16::high(both);
  }
#pragma unroll
  for (int i = 0; i < kPieces; ++i) to[(row * kPieces + i) * pairs + pair] = cut_pieces(v);
}

template <int kPieces>
__global__ void __launch_bounds__(kPieceThreads)
    add_pieces(const float* sums, int n, float* y, int64_t y_stride) {
  begin_early();
  const int out = static_cast<int>(blockIdx.x * kPieceThreads + threadIdx.x);
  const int64_t row = blockIdx.y;
  if (out >= n) return;
  const float* const from = sums + row * kPieces * n + out;
  float rest = from[int64_t{kPieces - 1} * n];
#pragma unroll
  for (int i = kPieces - 2; i > 0; --i) rest = from[int64_t{i} * n] + rest;
  y[row * y_stride + out] = from[0] + rest;
}

/// What a row exports whose x comes in pieces. Rows::of(args): the kernel for args of bf16, which
/// may have up to Rows::most(args) rows.
template <class Rows>
struct PieceRow {
  /// Rows of x that go at once.
  static int64_t slice_of(const MatmulArgs& a) {
    const int64_t most = Rows::most(a) / pieces_of(a.x_type);
    return a.m < most ? a.m : most;
  }
  static MatmulArgs of_pieces(const MatmulArgs& a, int64_t rows) {
    MatmulArgs pieces = a;
    pieces.m = rows * pieces_of(a.x_type), pieces.x_type = DType::bf16;
    pieces.x_stride = a.k, pieces.y_stride = a.n, pieces.y_type = DType::f32;
    return pieces;
  }
  /// Of the kernels' own workspace: the largest of those that some number of rows takes.
  static int64_t kernel_bytes(const MatmulArgs& a) {
    int64_t most = kTicketBytes;
    for (int64_t rows = slice_of(a); rows > 0; rows /= 2) {
      const MatmulArgs pieces = of_pieces(a, rows);
      const CudaEntry& kernel = Rows::of(pieces);
      const int64_t bytes = kernel.workspace_bytes != nullptr ? kernel.workspace_bytes(&pieces) : 0;
      most = bytes > most ? bytes : most;
    }
    return (most + 255) / 256 * 256;
  }
  static int64_t x_bytes(const MatmulArgs& pieces) {
    return (pieces.m * pieces.k * 2 + 255) & ~255;
  }

  static int64_t workspace_bytes(const void* args) {
    const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
    const MatmulArgs pieces = of_pieces(a, slice_of(a));
    return kernel_bytes(a) + x_bytes(pieces) + pieces.m * pieces.n * 4;
  }

  template <DType type>
  static int32_t launch_slice(const MatmulArgs& a, const CudaContext& context, uint8_t* room) {
    constexpr int kPieces = pieces_of(type);
    const auto blocks = [&](int64_t count) {
      return dim3(static_cast<unsigned>((count + kPieceThreads - 1) / kPieceThreads),
                  static_cast<unsigned>(a.m));
    };
    MatmulArgs pieces = of_pieces(a, a.m);
    auto* const sums = reinterpret_cast<float*>(room + x_bytes(pieces));
    pieces.x = room, pieces.y = sums;
    constexpr int kSize = type == DType::f32 ? 4 : 2;
    int32_t error = launch_grid(split_x<type>, {blocks(a.k / 2), kPieceThreads}, context, a.x,
                                a.x_stride * kSize, static_cast<int>(a.k / 2),
                                reinterpret_cast<uint32_t*>(room));
    if (error == cudaSuccess) error = Rows::of(pieces).launch(&pieces, context);
    if (error == cudaSuccess)
      error = launch_grid(add_pieces<kPieces>, {blocks(a.n), kPieceThreads}, context, sums,
                          static_cast<int>(a.n), static_cast<float*>(a.y), a.y_stride);
    return error;
  }

  static int32_t launch(const void* args, const CudaContext& context) {
    const MatmulArgs& all = *static_cast<const MatmulArgs*>(args);
    if (all.m == 0) return cudaSuccess;
    uint8_t* const room = context.workspace + kernel_bytes(all);
    const int64_t slice = slice_of(all), size = all.x_type == DType::f32 ? 4 : 2;
    int32_t error = cudaSuccess;
    for (int64_t row = 0; row < all.m && error == cudaSuccess; row += slice) {
      MatmulArgs a = all;
      a.m = all.m - row < slice ? all.m - row : slice;
      a.x = static_cast<const uint8_t*>(all.x) + row * all.x_stride * size;
      a.y = static_cast<float*>(all.y) + row * all.y_stride;
      error = all.x_type == DType::f32 ? launch_slice<DType::f32>(a, context, room)
                                       : launch_slice<DType::f16>(a, context, room);
    }
    return error;
  }

  static constexpr CudaEntry entry{.launch = launch, .workspace_bytes = workspace_bytes};
};

/// Hopper's kernels for up to 8, 64 and a tile's 128 rows.
template <const CudaEntry& few, const CudaEntry& mid, const CudaEntry& wide>
struct RowsOfThree {
  static int64_t most(const MatmulArgs&) { return 128; }
  static const CudaEntry& of(const MatmulArgs& a) {
    return a.m <= 8 ? few : a.m <= 64 ? mid : wide;
  }
};

}  // namespace
}  // namespace stepless::kernels::sm80
