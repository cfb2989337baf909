// y = x · wᵀ: x in float32, weights of any type.
#include "kernels/cuda/sm80/dense_lanes.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(mm_f32_m32n4_sm80) = {.launch = sm80::launch_dense_lanes<float>};

}  // namespace stepless::kernels
