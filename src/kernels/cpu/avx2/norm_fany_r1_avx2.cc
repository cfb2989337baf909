// RMS norm on eight lanes: the bits are those of the other widths.
#include "kernels/cpu/any/norm_rows.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(norm_fany_r1_avx2) = {nullptr, norm_rows, nullptr};

}  // namespace stepless::kernels
