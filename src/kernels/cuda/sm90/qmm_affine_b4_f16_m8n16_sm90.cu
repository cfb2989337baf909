// y = x · wᵀ for m = 1..8 on Hopper, x and scales in f16, in the order mma_k512.
#include "kernels/cuda/sm90/few_four_bits.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_affine_b4_f16_m8n16_sm90) =
    sm90::FewEntry<sm90::FourBitRows<sm80::F16>::Of, true, sm80::F16>::entry;

}  // namespace stepless::kernels
