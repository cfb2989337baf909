// The weighted sum of what a row's experts gave, in order of slot.
#include "kernels/cuda/any/elements.cuh"

namespace stepless::kernels {
namespace {

__device__ void combine(const CombineArgs& args, int64_t row, int64_t i) {
  float sum = 0.0f;
  for (int64_t j = 0; j < args.k; ++j) {
    const int64_t at = row * args.k + j;
    sum += args.weights[at] * load(args.x, args.type, at * args.width + i);
  }
  store(args.y, args.type, row * args.width + i, sum);
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const CombineArgs& args = *static_cast<const CombineArgs*>(opaque);
  return launch_elements<CombineArgs, combine>(args, args.rows, args.width, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(combine_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
