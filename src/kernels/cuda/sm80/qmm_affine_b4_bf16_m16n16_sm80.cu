// y = x · wᵀ for m = 1..16, in the order mma_k512.
#include "kernels/cuda/sm80/flat_four_bits.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_affine_b4_bf16_m16n16_sm80) = sm80::FlatFewRows<sm80::Bf16>::entry;

}  // namespace stepless::kernels
