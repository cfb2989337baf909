// y = x · wᵀ in bf16, codes of 4 bits, for prompts, in an order of its own (prompt_tile.cuh).
#include "kernels/cuda/sm90/prompt_row.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_affine_b4_bf16_m256n128_sm90) = sm90::PromptAffine<4, sm80::Bf16>::entry;

}  // namespace stepless::kernels
