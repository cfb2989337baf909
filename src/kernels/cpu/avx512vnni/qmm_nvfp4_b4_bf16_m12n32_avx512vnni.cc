// E2M1 weights in groups of 16 with a scale of E4M3 times bf16 activations by integers (words.hpp):
// twice an element is an integer. Order avx512_i16, without biases. f16 loses what the element-wise
// bounds of tests/golden/ops/special do not allow.
#include "kernels/cpu/avx512vnni/planes_run.hpp"
#include "kernels/cpu/avx512vnni/words.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_nvfp4_b4_bf16_m12n32_avx512vnni) = {
    prepare_words<Mode::nvfp4, Elements::nibbles>, run_planes<Words<Mode::nvfp4>, 4>, nullptr};

}  // namespace stepless::kernels
