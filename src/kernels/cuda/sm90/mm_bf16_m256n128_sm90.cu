// y = x · wᵀ in bf16, dense weights, for prompts, in an order of its own (prompt_tile.cuh).
#include "kernels/cuda/sm90/prompt_row.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(mm_bf16_m256n128_sm90) =
    sm90::PromptRow<sm90::PromptFormat<sm90::PromptDense<sm80::Bf16>>, sm80::Bf16>::entry;

}  // namespace stepless::kernels
