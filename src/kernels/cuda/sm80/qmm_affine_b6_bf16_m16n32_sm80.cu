// 6-bit codes, x and scales in bf16, any group and any number of rows.
#include "kernels/cuda/sm80/unit_gather.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_affine_b6_bf16_m16n32_sm80) = {
    .launch = sm80::launch_affine_units<sm80::Bf16, 6>,
    .workspace_bytes = sm80::unit_workspace_bytes,
    .joined = {.products = sm80::launch_affine_units_together<sm80::Bf16, 6>,
               .experts = sm80::launch_affine_unit_experts<sm80::Bf16, 6>,
               .experts_bytes = sm80::gather_bytes}};

}  // namespace stepless::kernels
