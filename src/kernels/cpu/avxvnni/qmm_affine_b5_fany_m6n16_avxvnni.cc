// Affine 5-bit weights times bf16 or f16 activations by integers. Order avx512_i16, scales of bf16
// alone, as the row of eight bits.
#include "kernels/cpu/avxvnni/tiles.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_affine_b5_fany_m6n16_avxvnni) = {
    prepare_planes<2, Elements::naturals, word_scale>, run_width<2, InOrder<5>>, nullptr};

}  // namespace stepless::kernels
