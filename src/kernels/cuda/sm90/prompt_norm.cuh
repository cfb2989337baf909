// The norm of a sum as the x of products of prompts: any/norm.cuh's bits, of many rows. A block
// goes on to its next row, whose elements it asks for before it sums up the one at hand.
#pragma once
#include "kernels/cuda/any/norm.cuh"
#include "kernels/cuda/sm90/prompt_operands.cuh"

namespace stepless::kernels::sm90 {

/// A thread's elements of a row.
template <int kVectors>
struct NormedRow {
  Eight a[kVectors], b[kVectors];
  __device__ __forceinline__ void load(const NormShape& shape, int row) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int i = static_cast<int>(threadIdx.x + v * blockDim.x);
      if (i * 8 >= shape.norm.k) return;
      const int64_t at = row * shape.norm.x_stride / 8 + i;
      a[v].raw = static_cast<const uint4*>(shape.norm.x)[at];
      b[v].raw = static_cast<const uint4*>(shape.b)[at];
    }
  }
};

/// Elements of one type, weights too.
template <int kVectors, DType type>
static __global__ void __launch_bounds__(kMostNormThreads, kVectors == 1 ? 3 : 1)
    norm_as_x(const NormShape shape) {
  __shared__ NormRoom room;
  const NormArgs& args = shape.norm;
  const int k = static_cast<int>(args.k), rows = static_cast<int>(args.rows);
  const auto eight_of = [](int v) { return static_cast<int>(threadIdx.x + v * blockDim.x); };
  let_next_start();
  Eight weight[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if (eight_of(v) * 8 < k && args.weight != nullptr)
      weight[v].raw = reinterpret_cast<const uint4*>(args.weight)[eight_of(v)];
  wait_for_inputs();
  NormedRow<kVectors> now, next;
  now.load(shape, static_cast<int>(blockIdx.x));
  for (int row = static_cast<int>(blockIdx.x); row < rows; row += static_cast<int>(gridDim.x)) {
    const int behind = row + static_cast<int>(gridDim.x);
    if (behind < rows) next.load(shape, behind);
    double squares = 0;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (eight_of(v) * 8 >= k) break;
      now.a[v].raw = added<type>(now.a[v], now.b[v]);
      static_cast<uint4*>(shape.sum)[row * args.x_stride / 8 + eight_of(v)] = now.a[v].raw;
      add_squares<type>(now.a[v], squares);
    }
    const float inverse = inverse_of(squares, shape, room);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (eight_of(v) * 8 >= k) break;
      store_as_operands(static_cast<uint8_t*>(args.y), k / kStepK, row, eight_of(v),
                        normed<type>(args, now.a[v], weight[v], inverse));
    }
    now = next;
  }
}

template <DType type>
static cudaError_t launch_norm_as_x(const NormShape& shape, const CudaContext& context) {
  const NormArgs& args = shape.norm;
  const auto needed = static_cast<unsigned>(args.k / 8);
  const unsigned threads = needed < kMostNormThreads ? needed : kMostNormThreads;
  const bool one = needed <= threads;
  const int64_t resident =
      context.multiprocessors * int64_t{one ? 3 * kMostNormThreads / threads : 1};
  const auto blocks = static_cast<unsigned>(args.rows < resident ? args.rows : resident);
  const auto kernel = one ? norm_as_x<1, type> : norm_as_x<kMostNormVectors, type>;
  return launch_grid(kernel, {blocks, threads}, context, shape);
}

}  // namespace stepless::kernels::sm90
