// Attention over plain pages.
#include "kernels/cuda/any/attention.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(attn_full_b16_fany_h1_cuda) = {launch_attention<false>, attention_workspace};

}  // namespace stepless::kernels
