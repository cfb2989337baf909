// Sums of two values on the base instruction set: the bits are those of the other widths.
#include "kernels/cpu/any/add_rows.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(add_fany_r1_cpu) = {nullptr, add_rows, nullptr};

}  // namespace stepless::kernels
