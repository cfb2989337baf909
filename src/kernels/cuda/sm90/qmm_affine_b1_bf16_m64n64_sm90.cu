// 1-bit codes, x and scales in bf16, for m = 9..64, in the order and with the bits of flat_few.
#include "kernels/cuda/sm90/mid_launch.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_affine_b1_bf16_m64n64_sm90) =
    sm90::MidRow<sm90::MidWidth<1>::Format>::entry;

}  // namespace stepless::kernels
