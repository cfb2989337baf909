// Affine 3-bit weights times bf16 or f16 activations by integers: the row of avx512vnni for all
// widths (same bits), whose codes VPSHRD and VPMULTISHIFTQB part in three instructions a vector,
// not seven.
#include "kernels/cpu/avx512vnni/planes_run.hpp"
#include "kernels/cpu/avx512vnni/words.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_affine_b3_fany_m12n32_avx512vbmi) = {
    prepare_words<Mode::affine, Elements::fields>, run_planes<Words<Mode::affine>, 3>, nullptr};

}  // namespace stepless::kernels
