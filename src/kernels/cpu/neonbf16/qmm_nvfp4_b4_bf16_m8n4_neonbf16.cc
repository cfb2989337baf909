// E2M1 weights in groups of 16 with a scale of E4M3 times bf16 activations by integers,
// with SMMLA; the bits are those of the neondot row.
#include "kernels/cpu/neonbf16/tiles.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_nvfp4_b4_bf16_m8n4_neonbf16) = {OneEntry<Tiles<Mode::nvfp4, 4>>::prepare,
                                                    OneEntry<Tiles<Mode::nvfp4, 4>>::run, nullptr};

}  // namespace stepless::kernels
