// nvfp4: E2M1 in groups of 16 under E4M3 scales, m = 9..64 on Hopper, in the order and with
// the bits of the unit kernels.
#include "kernels/cuda/sm90/mid_launch.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_nvfp4_b4_bf16_m64n64_sm90) =
    sm90::MidDotsRow<sm80::Nvfp4Units<sm80::Bf16>>::entry;

}  // namespace stepless::kernels
