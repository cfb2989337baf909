// E2M1 weights in groups of 32 with a power of two times bf16 activations by integers (words.hpp):
// twice an element is an integer. Order avx512_i16, without biases. f16 loses what the element-wise
// bounds of tests/golden/ops/special do not allow.
#include "kernels/cpu/avx512vnni/planes_run.hpp"
#include "kernels/cpu/avx512vnni/words.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_mxfp4_b4_bf16_m12n32_avx512vnni) = {
    prepare_words<Mode::mxfp4, Elements::nibbles>, run_planes<Words<Mode::mxfp4>, 4>, nullptr};

}  // namespace stepless::kernels
