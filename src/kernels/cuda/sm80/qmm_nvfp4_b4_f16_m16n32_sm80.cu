// nvfp4: E2M1 in groups of 16 under E4M3 scales and a tensor's scale, x in f16.
#include "kernels/cuda/sm80/unit_gather.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_nvfp4_b4_f16_m16n32_sm80) = {
    .launch = sm80::launch_format_units<sm80::Nvfp4Units<sm80::F16>>,
    .workspace_bytes = sm80::unit_workspace_bytes,
    .joined = {.products = sm80::launch_format_units_together<sm80::Nvfp4Units<sm80::F16>>,
               .experts = sm80::launch_format_unit_experts<sm80::Nvfp4Units<sm80::F16>>,
               .experts_bytes = sm80::gather_bytes}};

}  // namespace stepless::kernels
