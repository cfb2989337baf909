// E2M1 weights in groups of 16 with a scale of E4M3 times bf16 activations by integers
// (products.hpp), with SDOT. f16 loses what the element-wise bounds of tests/golden/ops/special do
// not allow.
#include "kernels/cpu/neondot/dots.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_nvfp4_b4_bf16_m8n4_neondot) = {OneEntry<Dots<Mode::nvfp4, 4>>::prepare,
                                                   OneEntry<Dots<Mode::nvfp4, 4>>::run, nullptr};

}  // namespace stepless::kernels
