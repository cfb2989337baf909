// Attention of prompts over packed pages of 4 bits and plain ones of bf16, in their own order.
#include "kernels/cuda/sm90/prompt_packed_launch.cuh"

namespace stepless::kernels {

extern const CudaEntry attn_affine_b4_fany_h64_sm80;

namespace {

using Row = sm90::PackedPromptRow<4, attn_affine_b4_fany_h64_sm80>;

}  // namespace

STEPLESS_CUDA_KERNEL(attn_affine_b4_bf16_h128_sm90) = {Row::launch, Row::workspace_bytes};

}  // namespace stepless::kernels
