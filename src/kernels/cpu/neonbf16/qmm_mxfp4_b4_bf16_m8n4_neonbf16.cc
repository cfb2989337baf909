// E2M1 weights in groups of 32 with a power of two times bf16 activations by integers,
// with SMMLA; the bits are those of the neondot row.
#include "kernels/cpu/neonbf16/tiles.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_mxfp4_b4_bf16_m8n4_neonbf16) = {OneEntry<Tiles<Mode::mxfp4, 4>>::prepare,
                                                    OneEntry<Tiles<Mode::mxfp4, 4>>::run, nullptr};

}  // namespace stepless::kernels
