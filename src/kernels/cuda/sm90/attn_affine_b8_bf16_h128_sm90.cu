// Attention of prompts over packed pages of 8 bits and plain ones of bf16, in their own order.
#include "kernels/cuda/sm90/prompt_packed_launch.cuh"

namespace stepless::kernels {

extern const CudaEntry attn_affine_b8_fany_h64_sm80;

namespace {

int32_t launch(const void* opaque, const CudaContext& context) {
  return sm90::launch_packed_prompt<8>(opaque, context, attn_affine_b8_fany_h64_sm80);
}
int64_t workspace(const void* opaque) {
  return sm90::packed_prompt_workspace<8>(opaque, attn_affine_b8_fany_h64_sm80);
}

}  // namespace

STEPLESS_CUDA_KERNEL(attn_affine_b8_bf16_h128_sm90) = {launch, workspace};

}  // namespace stepless::kernels
