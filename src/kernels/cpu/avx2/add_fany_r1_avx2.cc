// Sums of two values on eight lanes: the bits are those of the other widths.
#include "kernels/cpu/any/add_rows.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(add_fany_r1_avx2) = {nullptr, add_rows, nullptr};

}  // namespace stepless::kernels
