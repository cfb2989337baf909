// Which experts a token goes to, and how much of each: softmax, the k largest, optionally
// normalized. A warp to a row.
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

/// The better of two, ties to the lower id; an id of -1 loses. A NaN is never larger: it is taken
/// last.
__device__ bool better(float a, int a_id, float b, int b_id) {
  if (a_id < 0 || b_id < 0) return b_id < 0 && a_id >= 0;
  const bool a_nan = a != a, b_nan = b != b;
  if (a_nan || b_nan) return a_nan == b_nan ? a_id < b_id : b_nan;
  return a > b || (a == b && a_id < b_id);
}

__device__ int next_best(const float* logits, int64_t experts, const int32_t* taken, int count) {
  const int lane = threadIdx.x;
  float best = 0.0f;
  int id = -1;
  for (int e = lane; e < experts; e += 32) {
    bool free = true;
    for (int j = 0; j < count; ++j) free = free && taken[j] != e;
    if (free && better(logits[e], e, best, id)) best = logits[e], id = e;
  }
  for (int other = 16; other > 0; other /= 2) {
    const float their_best = __shfl_xor_sync(~0u, best, other);
    const int their_id = __shfl_xor_sync(~0u, id, other);
    if (better(their_best, their_id, best, id)) best = their_best, id = their_id;
  }
  return id;
}

__global__ void route(RouteArgs args) {
  begin_early();
  const int64_t row = blockIdx.x;
  const float* logits = args.logits + row * args.experts;
  int32_t* ids = args.ids + row * args.k;
  for (int j = 0; j < args.k; ++j) {
    const int id = next_best(logits, args.experts, ids, j);
    if (threadIdx.x == 0) ids[j] = id;
    __syncwarp();
  }
  const double top = static_cast<double>(logits[ids[0]]);
  double all = 0, chosen = 0;
  for (int64_t e = threadIdx.x; e < args.experts; e += 32)
    all += exp(static_cast<double>(logits[e]) - top);
  for (int other = 16; other > 0; other /= 2) all += __shfl_xor_sync(~0u, all, other);
  for (int j = 0; j < args.k; ++j) chosen += exp(static_cast<double>(logits[ids[j]]) - top);
  for (int64_t j = threadIdx.x; j < args.k; j += 32)
    args.weights[row * args.k + j] = static_cast<float>(
        exp(static_cast<double>(logits[ids[j]]) - top) / (args.normalize ? chosen : all));
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const RouteArgs& args = *static_cast<const RouteArgs*>(opaque);
  return launch_grid(route, {grid_for(args.rows), 32}, context, args);
}

}  // namespace

STEPLESS_CUDA_KERNEL(route_f32_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
