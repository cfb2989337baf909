// Affine 4-bit weights times activations that are rounded to 8 bits (i8_prepare.hpp): --fast-int8
// alone chooses it. Order int8_groups, as on AVX-512 with VNNI: sums within a group are exact
// integers; then, group after group, one fma for the bias times the sum of the rounded x and one
// for the scale. A lane is an output, so no tree follows.
#include "kernels/cpu/avx2/i8_panel.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_affine_b4_i8_m4n16_avx2) = {prepare_rows<Elements::nibbles>,
                                                [](const void* args, Slice units) {
                                                  run_panels<Nibbles>(
                                                      *static_cast<const MatmulArgs*>(args), units);
                                                },
                                                nullptr};

}  // namespace stepless::kernels
