// nvfp4: E2M1 in groups of 16 under E4M3 scales and a tensor's scale, m = 1..8 on Hopper, in the
// order and with the bits of unit_few.
#include "kernels/cuda/sm90/few_launch.cuh"

namespace stepless::kernels {

STEPLESS_CUDA_KERNEL(qmm_nvfp4_b4_bf16_m8n16_sm90) =
    sm90::FewDotsEntry<sm80::Nvfp4Units<sm80::Bf16>>::entry;

}  // namespace stepless::kernels
