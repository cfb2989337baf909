// 3-bit codes, scales of any type, x of any type, y in float32.
#include "kernels/cuda/sm80/mixed_formats.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_affine_b3_fany_m16n32_sm80) = {
    .launch = sm80::launch_mixed<3>, .workspace_bytes = sm80::mixed_workspace_bytes};

}  // namespace stepless::kernels
