// Affine 4-bit weights times activations that are rounded to 8 bits: --fast-int8 alone chooses it.
// Order int8_groups, as the rows of avx2 and avx512vnni.
#include "kernels/cpu/avxvnni/tiles.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_affine_b4_i8_m6n16_avxvnni) = {prepare_planes<1, Elements::nibbles, byte_scale>,
                                                   run_width<1, Halves>, nullptr};

}  // namespace stepless::kernels
