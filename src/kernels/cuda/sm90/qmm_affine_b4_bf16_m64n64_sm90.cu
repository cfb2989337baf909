// y = x · wᵀ for m = 9..64 by warpgroups, in the order and with the bits of the flat kernels.
#include "kernels/cuda/sm90/mid_four_bits.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_affine_b4_bf16_m64n64_sm90) = sm90::MidFourBits<sm80::Bf16>::entry;

}  // namespace stepless::kernels
