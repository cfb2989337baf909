// y = x · wᵀ with dense weights and x in bf16, as mm_bf16_m64n16_sm80 sums it.
#include "kernels/cuda/sm90/dense_launch.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(mm_bf16_m64n128_sm90) = sm90::DenseRow<sm80::Bf16>::entry;

}  // namespace stepless::kernels
