// E2M1 weights in groups of 32 with a power of two times bf16 activations by integers. Order
// avx512_i16, as the row of avx512vnni.
#include "kernels/cpu/avxvnni/tiles.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_mxfp4_b4_bf16_m6n16_avxvnni) = {
    prepare_planes<2, Elements::nibbles, word_scale, false>, run_width<2, TwiceE2m1>, nullptr};

}  // namespace stepless::kernels
