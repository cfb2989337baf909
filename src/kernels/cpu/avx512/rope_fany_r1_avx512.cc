// Rotary embedding on sixteen lanes: the bits are those of the other widths.
#include "kernels/cpu/any/rope_rows.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(rope_fany_r1_avx512) = {nullptr, rope_rows, nullptr};

}  // namespace stepless::kernels
