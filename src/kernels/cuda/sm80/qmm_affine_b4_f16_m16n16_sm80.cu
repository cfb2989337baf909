// y = x · wᵀ for m = 1..16, x and scales in f16, in the order mma_k512.
#include "kernels/cuda/sm80/flat_four_bits.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_affine_b4_f16_m16n16_sm80) = sm80::FlatFewRows<sm80::F16>::entry;

}  // namespace stepless::kernels
