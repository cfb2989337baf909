// y = x · wᵀ: x in bf16, weights of another type.
#include "kernels/cuda/sm80/dense_lanes.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(mm_bf16_m32n4_sm80) = {.launch = sm80::launch_dense_lanes<__nv_bfloat16>};

}  // namespace stepless::kernels
