// The rows that are sampled, or that an expert serves.
#include "kernels/cuda/any/elements.cuh"

namespace stepless::kernels {
namespace {

__device__ void take(const TakeArgs& args, int64_t row, int64_t i) {
  const int64_t from = args.index[row];
  store(args.y, args.type, row * args.y_stride + i,
        load(args.x, args.type, from * args.x_stride + i));
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const TakeArgs& args = *static_cast<const TakeArgs*>(opaque);
  return launch_elements<TakeArgs, take>(args, args.rows, args.width, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(take_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
