// y = x · wᵀ with dense weights where x or weights are float32, or their types differ: plain fma,
// since tensor cores would take up to nine products of bf16 for one.
//
// Order fma_lanes: lane l of a warp takes elements 8 l to 8 l + 7 of every 256, in order, as one
// chain of fma from 0; then lanes 16 apart are added, then those 8, 4, 2 and 1 apart. The weights
// of a warp's four outputs come from memory a step of 256 ahead; x goes through shared memory,
// where the block's warps find it.
#pragma once
#include "kernels/cuda/sm80/flat_units.cuh"

namespace stepless::kernels::sm80 {
namespace {  // of each file its own

constexpr int kLaneWarps = 8, kLaneThreads = kLaneWarps * 32;
constexpr int kLaneRows = 4, kLaneCols = 8;  // outputs and rows of x of a warp
constexpr int kLaneK = 8, kLaneStep = 32 * kLaneK;

/// Eight neighbours as they are stored, and as numbers.
template <class T>
struct Eight {
  static constexpr int kWords = sizeof(T) * 2;
  uint32_t words[kWords];
  __device__ float operator[](int i) const {
    if constexpr (sizeof(T) == 4)
      return __uint_as_float(words[i]);
    else if constexpr (std::is_same_v<T, __half>)
      return __half2float(
          __ushort_as_half(static_cast<unsigned short>(words[i / 2] >> i % 2 * 16)));
    else
      return i % 2 == 0 ? low_bf16(words[i / 2]) : high_bf16(words[i / 2]);
  }
};

struct DenseLanes {
  const uint8_t *w, *x;
  int64_t w_row_bytes, x_row_bytes;
  void* y;
  int64_t y_stride;
  DType y_type;
  int m, n, k, col_ways;  // warps along x's rows
};

/// Neighbours 8 l.. of a step of w; zeros beyond k.
template <class W>
__device__ __forceinline__ void load_weights(const DenseLanes& d, int row0, int k,
                                             Eight<W> (&w)[kLaneRows]) {
#pragma unroll
  for (int r = 0; r < kLaneRows; ++r) {
    const uint8_t* const from = d.w + min(row0 + r, d.n - 1) * d.w_row_bytes + k * sizeof(W);
#pragma unroll
    for (int i = 0; i < Eight<W>::kWords; i += 4) {
      uint4 v = make_uint4(0, 0, 0, 0);
      if (k < d.k) v = __ldcs(reinterpret_cast<const uint4*>(from + i * 4));
      w[r].words[i] = v.x, w[r].words[i + 1] = v.y, w[r].words[i + 2] = v.z,
      w[r].words[i + 3] = v.w;
    }
  }
}

/// A step of the block's x: of a column 16 bytes of every lane, then the 16 behind them.
template <class X>
__device__ __forceinline__ void copy_columns(const DenseLanes& d, int column0, int k0,
                                             uint32_t to) {
  constexpr int kPieces = kLaneStep * sizeof(X) / 16, kOfLane = Eight<X>::kWords / 4;
  for (int i = threadIdx.x; i < d.col_ways * kLaneCols * kPieces; i += kLaneThreads) {
    const int column = column0 + i / kPieces, piece = i % kPieces;
    const int k = k0 + piece * (16 / static_cast<int>(sizeof(X)));
    const bool is = column < d.m && k < d.k;
    const int place = piece % kOfLane * 32 + piece / kOfLane;
    copy_or_zero16(to + (i / kPieces * kPieces + place) * 16,
                   is ? d.x + column * d.x_row_bytes + k * sizeof(X) : d.x, is);
  }
  commit_copies();
}
template <class X>
__device__ __forceinline__ Eight<X> load_column(uint32_t step, int column, int lane) {
  constexpr int kOfLane = Eight<X>::kWords / 4;
  Eight<X> x;
#pragma unroll
  for (int i = 0; i < kOfLane; ++i) {
    const uint4 v = load_shared16(step + ((column * kOfLane + i) * 32 + lane) * 16);
    x.words[4 * i] = v.x, x.words[4 * i + 1] = v.y;
    x.words[4 * i + 2] = v.z, x.words[4 * i + 3] = v.w;
  }
  return x;
}

/// The 32 sums of a warp over its lanes: lane l is left with number l.
template <int apart = 16>
__device__ __forceinline__ float sum_of_lanes(float (&sums)[kLaneRows * kLaneCols], int lane) {
  const bool upper = (lane & apart) != 0;
#pragma unroll
  for (int i = 0; i < apart; ++i) {
    const float own = upper ? sums[i + apart] : sums[i];
    sums[i] = own + __shfl_xor_sync(~0u, upper ? sums[i] : sums[i + apart], apart);
  }
  if constexpr (apart > 1)
    return sum_of_lanes<apart / 2>(sums, lane);
  else
    return sums[0];
}

template <class X, class W>
__global__ void __launch_bounds__(kLaneThreads, 2)
    multiply_lanes(const __grid_constant__ DenseLanes d) {
  extern __shared__ __align__(128) uint8_t shared[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int row0 = (blockIdx.y * (kLaneWarps / d.col_ways) + warp / d.col_ways) * kLaneRows;
  const int block_columns = d.col_ways * kLaneCols, column0 = blockIdx.x * block_columns;
  const int first = warp % d.col_ways * kLaneCols;  // of the block's columns
  const uint32_t stages = shared_address(shared);
  const uint32_t stage_bytes = static_cast<uint32_t>(block_columns * kLaneStep * sizeof(X));
  Eight<W> w[kLaneRows], next[kLaneRows];
  float sums[kLaneRows * kLaneCols] = {};
  let_next_start();
  load_weights(d, row0, lane * kLaneK, w);
  wait_for_inputs();
  copy_columns<X>(d, column0, 0, stages);
  uint32_t stage = 0;
  for (int k0 = 0; k0 < d.k; k0 += kLaneStep, stage ^= 1) {
    load_weights(d, row0, k0 + kLaneStep + lane * kLaneK, next);
    wait_copies<0>();
    __syncthreads();
    if (k0 + kLaneStep < d.k)
      copy_columns<X>(d, column0, k0 + kLaneStep, stages + (stage ^ 1) * stage_bytes);
#pragma unroll
    for (int c = 0; c < kLaneCols; ++c) {
      const Eight<X> x = load_column<X>(stages + stage * stage_bytes, first + c, lane);
#pragma unroll
      for (int r = 0; r < kLaneRows; ++r)
#pragma unroll
        for (int i = 0; i < kLaneK; ++i)
          sums[r * kLaneCols + c] = __fmaf_rn(w[r][i], x[i], sums[r * kLaneCols + c]);
    }
#pragma unroll
    for (int r = 0; r < kLaneRows; ++r) w[r] = next[r];
  }
  const float sum = sum_of_lanes(sums, lane);
  const int out = row0 + lane / kLaneCols, column = column0 + first + lane % kLaneCols;
  if (out < d.n && column < d.m) store(d.y, d.y_type, column * d.y_stride + out, sum);
}

/// Columns of blocks: as many as there are, up to 32.
template <class X, class W>
cudaError_t launch_lanes(const MatmulArgs& a, const CudaContext& context) {
  const int ways = a.m <= 8 ? 1 : a.m <= 16 ? 2 : 4;
  const DenseLanes d{a.w,
                     static_cast<const uint8_t*>(a.x),
                     a.w_row_bytes,
                     a.x_stride * static_cast<int64_t>(sizeof(X)),
                     a.y,
                     a.y_stride,
                     a.y_type,
                     static_cast<int>(a.m),
                     static_cast<int>(a.n),
                     static_cast<int>(a.k),
                     ways};
  const int columns = ways * kLaneCols, rows = kLaneWarps / ways * kLaneRows;
  const int bytes = 2 * columns * kLaneStep * static_cast<int>(sizeof(X));
  const auto kernel = multiply_lanes<X, W>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  const Grid grid{dim3(static_cast<unsigned>((a.m + columns - 1) / columns),
                       static_cast<unsigned>((a.n + rows - 1) / rows)),
                  kLaneThreads, static_cast<std::size_t>(bytes)};
  return launch_grid(kernel, grid, context, d);
}

/// What a file exports for a type of x.
template <class X>
int32_t launch_dense_lanes(const void* args, const CudaContext& context) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  if (a.w_type == DType::f32) return launch_lanes<X, float>(a, context);
  if (a.w_type == DType::f16) return launch_lanes<X, __half>(a, context);
  return launch_lanes<X, __nv_bfloat16>(a, context);
}

}  // namespace
}  // namespace stepless::kernels::sm80
