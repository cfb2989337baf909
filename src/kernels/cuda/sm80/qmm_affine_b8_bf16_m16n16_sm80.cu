// 8-bit codes, x and scales in bf16, 16 rows of x at a time.
#include "kernels/cuda/sm80/gather_formats.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_affine_b8_bf16_m16n16_sm80) = {
    .launch = sm80::launch_format<8>,
    .workspace_bytes = nullptr,
    .joined = {.products = sm80::launch_format_together<8>,
               .experts = sm80::launch_format_experts<8>,
               .experts_bytes = sm80::gather_bytes}};

}  // namespace stepless::kernels
