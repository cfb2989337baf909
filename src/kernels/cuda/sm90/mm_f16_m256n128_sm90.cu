// y = x · wᵀ in f16, dense weights, for prompts, in an order of its own (prompt_tile.cuh).
#include "kernels/cuda/sm90/prompt_row.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(mm_f16_m256n128_sm90) =
    sm90::PromptRow<sm90::PromptFormat<sm90::PromptDense<sm80::F16>>, sm80::F16>::entry;

}  // namespace stepless::kernels
