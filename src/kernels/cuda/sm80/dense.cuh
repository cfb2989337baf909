// y = x · wᵀ with dense weights (heads, routers): up to 64 rows of x for one reading of w.
//
// Order: k is cut into chains of 512, each a chain of mma over 16 k in order; y is the sum of its
// chains in order. A block owns a run of tiles of 16 outputs and takes them in bands; its warps
// share the band's tiles and, where there are few outputs, several chains at a time.
#pragma once
#include "kernels/cuda/sm80/flat_units.cuh"
#include "kernels/cuda/sm80/number_types.cuh"

namespace stepless::kernels::sm80 {
namespace {  // of each file its own

// 256 bytes of a row at a time: a head is read at 92 % of an H200's ceiling, with 128 at 81 %.
constexpr int kDenseWarps = 8, kStep = 128, kChainSteps = kChainK / kStep;
constexpr int kPieces = kStep / 8, kLineBytes = kStep * 2;  // of a row in a step, 16 bytes each
constexpr int kLines = kDenseWarps * kTileRows;             // of weights in a step, all chains
constexpr int kSliceRows = 64;

struct Dense {
  const uint8_t *w, *x;
  int64_t w_row_bytes, x_row_bytes;
  void* y;
  int64_t y_stride;
  DType y_type;
  int m, n, k;
  int chain_ways;  // 1, 2, 4 or 8 chains at a time, by as many warps of each tile

  /// The part of blocks that have `columns` rows of x each, the block's number counted in y.
  __device__ Dense part(int columns) const {
    Dense own = *this;
    const int64_t first = static_cast<int64_t>(blockIdx.y) * columns;
    own.x += first * x_row_bytes, own.m -= static_cast<int>(first);
    own.y = static_cast<uint8_t*>(y) + first * y_stride * (y_type == DType::f32 ? 4 : 2);
    return own;
  }
};

/// Piece `at` of a row in shared memory; turned by the row, so that eight rows spread the banks.
__device__ __forceinline__ uint32_t piece(int row, int at) {
  return static_cast<uint32_t>(row * kLineBytes + (at ^ (row & 7)) * 16);
}

/// Where a step is: a band's first tile, a group of chain_ways chains, kStep k of each.
struct DenseStep {
  int tile, group, step;
};

template <class Type, int kCols>
struct Block {
  const Dense& d;
  int chains, groups, band, end;  // band: tiles; end: the block's last tile
  uint32_t stages, stage_bytes;

  __device__ Block(const Dense& dense, uint8_t* shared)
      : d(dense),
        chains((d.k + kChainK - 1) / kChainK),
        groups((chains + d.chain_ways - 1) / d.chain_ways),
        band(kDenseWarps / d.chain_ways),
        end(0),
        stages(shared_address(shared)),
        stage_bytes((kLines + d.chain_ways * kCols * 8) * kLineBytes) {}

  __device__ void advance(DenseStep& at) const {
    if (++at.step < kChainSteps) return;
    at.step = 0;
    if (++at.group < groups) return;
    at.group = 0, at.tile += band;
  }
  __device__ int k_of(const DenseStep& at, int way) const {
    return (at.group * d.chain_ways + way) * kChainK + at.step * kStep;
  }
  /// Rows beyond n are the last one again, tiles beyond the block's are not read: neither is
  /// stored.
  __device__ void copy_weights(const DenseStep& at, int stage) const {
    const uint32_t to = stages + stage * stage_bytes;
#pragma unroll
    for (int i = 0; i < kLines * kPieces / (kDenseWarps * 32); ++i) {
      const int item = i * kDenseWarps * 32 + static_cast<int>(threadIdx.x), line = item / kPieces;
      const int way = line / (band * kTileRows), row = line % (band * kTileRows);
      const int k = k_of(at, way) + item % kPieces * 8;
      if (at.tile + row / kTileRows >= end) continue;
      const uint8_t* from = d.w + min(at.tile * kTileRows + row, d.n - 1) * d.w_row_bytes;
      copy_or_zero16(to + piece(line, item % kPieces), k < d.k ? from + k * 2 : from, k < d.k);
    }
  }
  __device__ void copy_x(const DenseStep& at, int stage) const {
    const uint32_t to = stages + stage * stage_bytes + kLines * kLineBytes;
    for (int item = threadIdx.x; item < d.chain_ways * kCols * 8 * kPieces;
         item += kDenseWarps * 32) {
      const int line = item / kPieces, row = line % (kCols * 8);
      const int k = k_of(at, line / (kCols * 8)) + item % kPieces * 8;
      const bool is = k < d.k && row < d.m;
      copy_or_zero16(to + piece(line, item % kPieces), is ? d.x + row * d.x_row_bytes + k * 2 : d.x,
                     is);
    }
  }
  /// acc += w · xᵀ over a step of this warp's tile.
  __device__ void multiply(int stage, int warp, int way, float (&acc)[kCols][4]) const {
    const uint32_t w = stages + stage * stage_bytes, x = w + kLines * kLineBytes;
    const int lane = threadIdx.x & 31;
#pragma unroll
    for (int j = 0; j < kStep / 16; ++j) {
      uint32_t a[4];
      load_matrices(a, w + piece(warp * kTileRows + (lane & 15), j * 2 + (lane >> 4)));
#pragma unroll
      for (int c = 0; c < kCols; c += 2) {
        // Two blocks of columns, or one twice.
        const int block = kCols == 1 ? 0 : c + (lane >> 4);
        uint32_t b[4];
        load_matrices(b,
                      x + piece((way * kCols + block) * 8 + (lane & 7), j * 2 + (lane >> 3) % 2));
        Type::multiply_add(acc[c], acc[c], a, b[0], b[1]);
        if constexpr (kCols > 1) Type::multiply_add(acc[c + 1], acc[c + 1], a, b[2], b[3]);
      }
    }
  }
  __device__ void store_tile(int tile, const float (&total)[kCols][4]) const {
    const int lane = threadIdx.x & 31;
    if (tile >= end) return;
#pragma unroll
    for (int i = 0; i < kCols * 4; ++i) {
      const int out = tile * kTileRows + (lane >> 2) + i % 4 / 2 * 8;
      const int column = i / 4 * 8 + (lane & 3) * 2 + i % 2;
      if (out < d.n && column < d.m)
        store(d.y, d.y_type, column * d.y_stride + out, total[i / 4][i % 4]);
    }
  }
};

template <int kCols>
__device__ __forceinline__ void clear(float (&values)[kCols][4]) {
#pragma unroll
  for (int i = 0; i < kCols * 4; ++i) values[i / 4][i % 4] = 0;
}

/// A chain of this warp's tile joins the total: at once, or, where several chains run side by side,
/// by the warps of the first, in order. Until these have read all, no warp is a chain further.
template <int kCols>
__device__ void add_chain(int chain_ways, int warp, float4* meeting, const float (&acc)[kCols][4],
                          float (&total)[kCols][4]) {
  if (chain_ways == 1) {
#pragma unroll
    for (int i = 0; i < kCols * 4; ++i) total[i / 4][i % 4] += acc[i / 4][i % 4];
    return;
  }
  const int row_ways = kDenseWarps / chain_ways;
  float4* const mine = meeting + warp * kCols * 32 + (threadIdx.x & 31);
#pragma unroll
  for (int c = 0; c < kCols; ++c)
    mine[c * 32] = make_float4(acc[c][0], acc[c][1], acc[c][2], acc[c][3]);
  __syncthreads();
  for (int way = 0; warp < row_ways && way < chain_ways; ++way)
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      const float4 v = mine[(way * row_ways * kCols + c) * 32];
      total[c][0] += v.x, total[c][1] += v.y, total[c][2] += v.z, total[c][3] += v.w;
    }
}

template <class Type, int kCols, int kStages, int kPerSm>
__global__ void __launch_bounds__(kDenseWarps * 32, kPerSm)
    multiply_dense(const __grid_constant__ Dense all) {
  extern __shared__ __align__(128) uint8_t shared[];
  const Dense d = all.part(kCols * 8);
  Block<Type, kCols> block(d, shared);
  const int tiles = (d.n + kTileRows - 1) / kTileRows;
  const int first = static_cast<int>(static_cast<int64_t>(tiles) * blockIdx.x / gridDim.x);
  block.end = static_cast<int>(static_cast<int64_t>(tiles) * (blockIdx.x + 1) / gridDim.x);
  const int warp = threadIdx.x >> 5, way = warp / block.band, own = warp % block.band;
  float4* const meeting =
      reinterpret_cast<float4*>(shared + kStages * static_cast<int>(block.stage_bytes));

  DenseStep ahead{first, 0, 0};
  let_next_start();
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i, block.advance(ahead))
    if (ahead.tile < block.end) block.copy_weights(ahead, i);
  wait_for_inputs();
  ahead = {first, 0, 0};
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i, block.advance(ahead)) {
    if (ahead.tile < block.end) block.copy_x(ahead, i);
    commit_copies();
  }

  float acc[kCols][4], total[kCols][4];
  clear(acc), clear(total);
  int stage = 0;
  for (DenseStep at{first, 0, 0}; at.tile < block.end; block.advance(at)) {
    wait_copies<kStages - 2>();
    __syncthreads();
    if (ahead.tile < block.end) {
      const int free = stage == 0 ? kStages - 1 : stage - 1;
      block.copy_weights(ahead, free), block.copy_x(ahead, free);
      block.advance(ahead);
    }
    commit_copies();
    block.multiply(stage, warp, way, acc);
    stage = stage + 1 == kStages ? 0 : stage + 1;
    if (at.step + 1 < kChainSteps) continue;
    add_chain(d.chain_ways, warp, meeting, acc, total);
    clear(acc);
    if (at.group + 1 < block.groups) continue;
    if (way == 0) block.store_tile(at.tile + own, total);
    clear(total);
  }
}

template <int kCols, int kStages>
int dense_bytes(int chain_ways) {
  const int stage = (kLines + chain_ways * kCols * 8) * kLineBytes;
  return kStages * stage + (chain_ways > 1 ? kDenseWarps * kCols * 512 : 0);
}

int tiles_of(const Dense& d) { return (d.n + kTileRows - 1) / kTileRows; }

template <class Type, int kCols, int kStages, int kPerSm>
cudaError_t launch_dense(const Dense& d, const CudaContext& context) {
  const auto kernel = multiply_dense<Type, kCols, kStages, kPerSm>;
  const int bytes = dense_bytes<kCols, kStages>(d.chain_ways);
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  const int blocks = min(tiles_of(d), context.multiprocessors * kPerSm);
  const int parts = (d.m + kCols * 8 - 1) / (kCols * 8);
  const Grid grid{dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(parts)),
                  kDenseWarps * 32, static_cast<std::size_t>(bytes)};
  return launch_grid(kernel, grid, context, d);
}

/// Two blocks to a multiprocessor where there are tiles for all warps. Where there are few, warps
/// without one take further chains of the others', as many as a smaller card has room for.
template <class Type, int kCols, int kStages, int kFewStages>
cudaError_t launch_columns(Dense d, int most_bytes, const CudaContext& context) {
  const int each = (tiles_of(d) + context.multiprocessors - 1) / context.multiprocessors;
  d.chain_ways = 1;
  if (each >= 2 * kDenseWarps && dense_bytes<kCols, kStages>(1) <= most_bytes)
    return launch_dense<Type, kCols, kStages, 2>(d, context);
  while (kDenseWarps / (d.chain_ways * 2) >= each && d.chain_ways * kChainK < d.k &&
         dense_bytes<kCols, kFewStages>(d.chain_ways * 2) <= most_bytes)
    d.chain_ways *= 2;
  return launch_dense<Type, kCols, kFewStages, 1>(d, context);
}

template <class Type>
cudaError_t launch_dense_rows(const Dense& d, int most_bytes, const CudaContext& context) {
  const bool roomy = most_bytes >= (160 << 10);
  // A router's tiles leave multiprocessors for eight rows of x each.
  if (d.m <= 8 || tiles_of(d) * ((d.m + 7) / 8) <= context.multiprocessors)
    return roomy ? launch_columns<Type, 1, 3, 4>(d, most_bytes, context)
                 : launch_columns<Type, 1, 2, 2>(d, most_bytes, context);
  if (d.m <= 16)
    return roomy ? launch_columns<Type, 2, 3, 3>(d, most_bytes, context)
                 : launch_columns<Type, 2, 2, 2>(d, most_bytes, context);
  if (d.m <= 32) return launch_columns<Type, 4, 2, 2>(d, most_bytes, context);
  return launch_columns<Type, 8, 2, 2>(d, most_bytes, context);
}

/// What a file exports for a type of x and weights.
template <class Type>
int32_t launch_dense_product(const void* args, const CudaContext& context) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  int device = 0, most = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  for (int64_t row = 0; row < a.m && error == cudaSuccess; row += kSliceRows) {
    const int64_t y_size = a.y_type == DType::f32 ? 4 : 2;
    const int m = static_cast<int>(min(a.m - row, int64_t{kSliceRows}));
    const Dense d{a.w,
                  static_cast<const uint8_t*>(a.x) + row * a.x_stride * 2,
                  a.w_row_bytes,
                  a.x_stride * 2,
                  static_cast<uint8_t*>(a.y) + row * a.y_stride * y_size,
                  a.y_stride,
                  a.y_type,
                  m,
                  static_cast<int>(a.n),
                  static_cast<int>(a.k),
                  1};
    error = launch_dense_rows<Type>(d, most, context);
  }
  return error;
}

}  // namespace
}  // namespace stepless::kernels::sm80
