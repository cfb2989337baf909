// Attention over packed pages of 4 bits and plain ones of bf16 or f16, heads of up to 256 elements.
#include "kernels/cuda/sm80/packed_launch.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(attn_affine_b4_fany_h64_sm80) = {launch_packed<4>, packed_workspace};

}  // namespace stepless::kernels
