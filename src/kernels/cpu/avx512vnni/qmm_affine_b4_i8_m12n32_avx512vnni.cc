// Affine 4-bit weights times activations that are rounded to 8 bits (bytes.hpp): --fast-int8 alone
// chooses it. Order int8_groups: sums within a group are exact integers; then, group after group,
// one fma for the bias times the sum of the rounded x and one for the scale.
#include "kernels/cpu/avx512vnni/bytes.hpp"
#include "kernels/cpu/avx512vnni/planes_run.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_affine_b4_i8_m12n32_avx512vnni) = {prepare_bytes<Elements::nibbles>,
                                                       run_planes<Bytes, 4>, nullptr};

}  // namespace stepless::kernels
