// Gated activation on sixteen lanes: the bits are those of the other widths.
#include "kernels/cpu/any/glu_rows.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(glu_fany_r1_avx512) = {nullptr, glu_rows, nullptr};

}  // namespace stepless::kernels
