// Which experts a token goes to, and how much of each: softmax, the k largest, optionally
// normalized. A warp to a row, whose logits stay in registers when they are few.
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

/// Orders logits as they are taken: larger first, of equal ones the lower id; a NaN is never
/// larger. No two keys of a row are equal, none is 0.
__device__ uint64_t key_of(float logit, int id) {
  const unsigned bits = __float_as_uint(logit + 0.0f);  // one zero alone
  const unsigned ordered = logit != logit ? 0 : bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | ~static_cast<unsigned>(id);
}
__device__ int id_of(uint64_t key) { return static_cast<int>(~static_cast<unsigned>(key)); }
__device__ float logit_of(uint64_t key) {
  const auto ordered = static_cast<unsigned>(key >> 32);
  if (ordered == 0) return __uint_as_float(0x7fc00000u);
  return __uint_as_float(ordered >> 31 != 0 ? ordered & 0x7fffffffu : ~ordered);
}

__device__ uint64_t largest_of_warp(uint64_t key) {
  const unsigned high = __reduce_max_sync(~0u, static_cast<unsigned>(key >> 32));
  const bool is = static_cast<unsigned>(key >> 32) == high;
  const unsigned low = __reduce_max_sync(~0u, is ? static_cast<unsigned>(key) : 0u);
  return static_cast<uint64_t>(high) << 32 | low;
}

/// kHeld: logits that a lane keeps; 0: it reads them again for each expert.
template <int kHeld>
__global__ void route(RouteArgs args) {
  begin_early();
  const int lane = threadIdx.x, experts = static_cast<int>(args.experts);
  const int64_t row = blockIdx.x;
  const float* logits = args.logits + row * args.experts;
  uint64_t held[kHeld > 0 ? kHeld : 1];
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int e = i * 32 + lane;
    held[i] = e < experts ? key_of(logits[e], e) : 0;
  }
  const auto each_key = [&](auto f) {
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i)
        if (held[i] != 0) f(held[i]);
    } else {
      for (int e = lane; e < experts; e += 32) f(key_of(logits[e], e));
    }
  };
  const auto next_below = [&](uint64_t last) {
    uint64_t best = 0;
    each_key([&](uint64_t key) { best = key < last && key > best ? key : best; });
    return largest_of_warp(best);
  };
  const uint64_t first = next_below(~uint64_t{0});
  const auto top = static_cast<double>(logit_of(first));
  double sum = 0;  // of all, or of those that are chosen
  if (!args.normalize) {
    each_key([&](uint64_t key) { sum += exp(static_cast<double>(logit_of(key)) - top); });
    for (int other = 16; other > 0; other /= 2) sum += __shfl_xor_sync(~0u, sum, other);
  }
  // 32 experts at a time, one to a lane.
  uint64_t key = first;
  for (int begin = 0; begin < args.k; begin += 32) {
    const int count = args.k - begin < 32 ? static_cast<int>(args.k) - begin : 32;
    uint64_t mine = 0;
    for (int j = 0; j < count; ++j) {
      if (begin + j > 0) key = next_below(key);
      if (lane == j) mine = key;
    }
    const double part = lane < count ? exp(static_cast<double>(logit_of(mine)) - top) : 0;
    if (args.normalize)
      for (int j = 0; j < count; ++j) sum += __shfl_sync(~0u, part, j);
    if (lane < count) args.ids[row * args.k + begin + lane] = id_of(mine);
    if (lane < count && args.k <= 32)
      args.weights[row * args.k + lane] = static_cast<float>(part / sum);
  }
  if (args.k <= 32) return;
  __syncwarp();
  for (int64_t j = lane; j < args.k; j += 32)
    args.weights[row * args.k + j] = static_cast<float>(
        exp(static_cast<double>(logits[args.ids[row * args.k + j]]) - top) / sum);
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const RouteArgs& args = *static_cast<const RouteArgs*>(opaque);
  const auto kernel = args.experts <= 128 ? route<4> : args.experts <= 256 ? route<8> : route<0>;
  return launch_grid(kernel, {grid_for(args.rows), 32}, context, args);
}

}  // namespace

STEPLESS_CUDA_KERNEL(route_f32_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
