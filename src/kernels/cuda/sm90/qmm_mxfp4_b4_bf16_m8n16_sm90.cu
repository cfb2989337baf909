// mxfp4: E2M1 in groups of 32 under E8M0 scales, m = 1..8 on Hopper, in the order and with
// the bits of unit_few.
#include "kernels/cuda/sm90/few_launch.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_mxfp4_b4_bf16_m8n16_sm90) =
    sm90::FewDotsEntry<sm80::Mxfp4Units<sm80::Bf16>>::entry;

}  // namespace stepless::kernels
