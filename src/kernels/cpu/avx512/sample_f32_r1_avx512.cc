// Sampling on sixteen lanes: the bits are those of the other widths.
#include "kernels/cpu/any/sample_rows.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(sample_f32_r1_avx512) = {nullptr, sample_rows, nullptr};

}  // namespace stepless::kernels
