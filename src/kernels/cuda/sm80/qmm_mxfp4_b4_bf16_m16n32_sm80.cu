// mxfp4: E2M1 in groups of 32 under E8M0 scales, x in bf16.
#include "kernels/cuda/sm80/unit_gather.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_mxfp4_b4_bf16_m16n32_sm80) = {
    .launch = sm80::launch_format_units<sm80::Mxfp4Units<sm80::Bf16>>,
    .workspace_bytes = sm80::unit_workspace_bytes,
    .joined = {.products = sm80::launch_format_units_together<sm80::Mxfp4Units<sm80::Bf16>>,
               .experts = sm80::launch_format_unit_experts<sm80::Mxfp4Units<sm80::Bf16>>,
               .experts_bytes = sm80::gather_bytes}};

}  // namespace stepless::kernels
