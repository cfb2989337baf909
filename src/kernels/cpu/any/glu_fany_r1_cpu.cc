// Gated activation on the base instruction set: the bits are those of the other widths.
#include "kernels/cpu/any/glu_rows.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(glu_fany_r1_cpu) = {nullptr, glu_rows, nullptr};

}  // namespace stepless::kernels
