// y = x · wᵀ for m = 9..64 by warpgroups, x and scales in f16, in the order mma_k512.
#include "kernels/cuda/sm90/mid_four_bits.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_affine_b4_f16_m64n64_sm90) = sm90::MidFourBits<sm80::F16>::entry;

}  // namespace stepless::kernels
