// Affine weights of every width times bf16 or f16 activations by integers (words.hpp). The order of
// the row of four bits, which is faster where it can run. Scales are bf16: a weight of five bits or
// more with f16 scales would be rounded twice.
#include "kernels/cpu/avx512vnni/widths.hpp"
#include "kernels/cpu/avx512vnni/words.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_affine_bany_fany_m12n32_avx512vnni) = {
    prepare_words<Mode::affine, Elements::fields>, run_widths<Words<Mode::affine>>, nullptr};

}  // namespace stepless::kernels
