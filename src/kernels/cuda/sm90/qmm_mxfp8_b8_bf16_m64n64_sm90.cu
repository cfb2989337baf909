// mxfp8: E4M3 in groups of 32 under E8M0 scales, m = 9..64 on Hopper, in the order and with
// the bits of the unit kernels.
#include "kernels/cuda/sm90/mid_launch.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_mxfp8_b8_bf16_m64n64_sm90) =
    sm90::MidDotsRow<sm80::Mxfp8Units<sm80::Bf16>>::entry;

}  // namespace stepless::kernels
