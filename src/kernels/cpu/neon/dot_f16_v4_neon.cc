// Inner product of two f16 vectors in float64; see dot.hpp.
#include "kernels/cpu/neon/dot.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(dot_f16_v4_neon) = {nullptr, run_dot<DType::f16>, finish_dot};

}  // namespace stepless::kernels
