// Affine 4-bit weights times bf16 or f16 activations by integers, on processors with VPDPBUSD but
// without AVX-512. Order avx512_i16, as avx512vnni: sums within a group are exact, so the width of
// vectors never shows in the bits.
#include "kernels/cpu/avxvnni/tiles.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_affine_b4_fany_m6n16_avxvnni) = {
    prepare_planes<2, Elements::nibbles, word_scale>, run_width<2, Halves>, nullptr};

}  // namespace stepless::kernels
