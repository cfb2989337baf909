// 1-bit codes, m = 1..8 on Hopper, in the order and with the bits of flat_few.
#include "kernels/cuda/sm90/few_launch.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_affine_b1_bf16_m8n16_sm90) =
    sm90::FewEntry<sm90::WideRows<1>::Of, false>::entry;

}  // namespace stepless::kernels
