// The shares of tiled attention become rows of y.
#pragma once
#include "kernels/cuda/any/numbers.cuh"
#include "kernels/cuda/sm80/attention_parts.cuh"

namespace stepless::kernels::sm80 {

/// y of one row and head: its shares in order, and the sink.
template <DType type>
__global__ void merge_tiles(AttnSlab slab) {
  const AttnArgs& a = slab.args;
  begin_early();
  const int64_t row = blockIdx.x / a.heads, head = blockIdx.x % a.heads;
  const int64_t width = a.cache.v_dim + 2;
  const float* const from = slab.partial + (row * a.heads + head) * kShares * width;
  const float sink = a.sinks == nullptr ? -INFINITY : load(a.sinks, a.sinks_type, head);
  float top = sink, weight[kShares];
#pragma unroll
  for (int s = 0; s < kShares; ++s) top = max_or_nan(top, from[s * width]);
  double total = a.sinks == nullptr ? 0.0 : static_cast<double>(expf(sink - top));
#pragma unroll
  for (int s = 0; s < kShares; ++s) {
    weight[s] = from[s * width] == -INFINITY ? 0.0f : expf(from[s * width] - top);
    if (from[s * width] != -INFINITY)
      total += static_cast<double>(weight[s]) * static_cast<double>(from[s * width + 1]);
  }
  for (int64_t i = threadIdx.x; i < a.cache.v_dim; i += blockDim.x) {
    float sum = 0.0f;
#pragma unroll
    for (int s = 0; s < kShares; ++s)
      if (from[s * width] != -INFINITY) sum = fmaf(weight[s], from[s * width + 2 + i], sum);
    const auto value = static_cast<float>(static_cast<double>(sum) / total);
    static_cast<uint16_t*>(a.y)[(slab.first_row + row) * a.y_stride + head * a.cache.v_dim + i] =
        narrowed<type>(value);
  }
}

}  // namespace stepless::kernels::sm80
