// y = x · wᵀ for m from 17 on, x and scales in f16, in the order mma_k512.
#include "kernels/cuda/sm80/flat_four_bits.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_affine_b4_f16_m64n32_sm80) = sm80::FlatManyRows<sm80::F16>::entry;

}  // namespace stepless::kernels
