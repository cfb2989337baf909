// y = x · wᵀ for m = 1..8 on Hopper, in the order and with the bits of the flat kernels.
#include "kernels/cuda/sm90/few_four_bits.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_affine_b4_bf16_m8n16_sm90) =
    sm90::FewEntry<sm90::FourBitRows<sm80::Bf16>::Of>::entry;

}  // namespace stepless::kernels
