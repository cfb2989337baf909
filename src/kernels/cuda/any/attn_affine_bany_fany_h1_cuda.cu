// Attention over plain and packed pages.
#include "kernels/cuda/any/attention.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(attn_affine_bany_fany_h1_cuda) = {launch_attention<true>, attention_workspace};

}  // namespace stepless::kernels
