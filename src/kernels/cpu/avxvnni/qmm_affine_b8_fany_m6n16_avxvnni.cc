// Affine 8-bit weights times bf16 or f16 activations by integers. Order avx512_i16. Scales are
// bf16: a weight of so many bits with f16 scales would be rounded twice. Widths below five are
// split in more instructions than they save at m = 1.
#include "kernels/cpu/avxvnni/tiles.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_affine_b8_fany_m6n16_avxvnni) = {
    prepare_planes<2, Elements::naturals, word_scale>, run_width<2, InOrder<8>>, nullptr};

}  // namespace stepless::kernels
