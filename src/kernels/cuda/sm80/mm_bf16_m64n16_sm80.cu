// y = x · wᵀ with dense weights and x in bf16.
#include "kernels/cuda/sm80/dense.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(mm_bf16_m64n16_sm80) = {.launch = sm80::launch_dense_product<sm80::Bf16>,
                                             .workspace_bytes = nullptr};

}  // namespace stepless::kernels
