// Affine 4-bit weights as they lie in the checkpoint times bf16 or f16 activations by integers
// (words.hpp): VPDPBUSD sums code times x exactly within a group, then one float32 fma scales the
// sum. One order for every m: for each group in turn, first bias times the sum of x, then scale
// times the integer. A lane is an output, so no tree follows.
#include "kernels/cpu/avx512vnni/planes_run.hpp"
#include "kernels/cpu/avx512vnni/words.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_affine_b4_fany_m12n32_avx512vnni) = {
    prepare_words<Mode::affine, Elements::nibbles>, run_planes<Words<Mode::affine>, 4>, nullptr};

}  // namespace stepless::kernels
