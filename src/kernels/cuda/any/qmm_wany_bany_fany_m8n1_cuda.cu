// y = x · wᵀ for every mode, width, group and type.
#include "kernels/cuda/any/product.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_wany_bany_fany_m8n1_cuda) = {launch_product<packed_weight>, nullptr};

}  // namespace stepless::kernels
