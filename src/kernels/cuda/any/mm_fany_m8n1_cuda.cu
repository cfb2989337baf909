// y = x · wᵀ with a dense weight of any type.
#include "kernels/cuda/any/product.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(mm_fany_m8n1_cuda) = {launch_product<dense_weight>, nullptr};

}  // namespace stepless::kernels
