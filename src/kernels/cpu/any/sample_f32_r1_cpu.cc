// Sampling on the base instruction set: the bits are those of the other widths.
#include "kernels/cpu/any/sample_rows.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(sample_f32_r1_cpu) = {nullptr, sample_rows, nullptr};

}  // namespace stepless::kernels
