// RMS norm over the last axis, also head by head (query and key norms), or of a sum of two values.
#include "kernels/cuda/any/norm.cuh"

namespace stepless::kernels {
namespace {

int32_t launch(const void* args, const CudaContext& context) {
  return launch_norm({*static_cast<const NormArgs*>(args), nullptr, nullptr}, context);
}

int32_t launch_sum(const AddArgs& add, const NormArgs& norm, const CudaContext& context) {
  NormShape shape{norm, add.b, add.y};
  shape.norm.x = add.a;
  return launch_norm(shape, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(norm_fany_r1_cuda) = {
    .launch = launch, .workspace_bytes = nullptr, .joined = {.norm_sum = launch_sum}};

}  // namespace stepless::kernels
