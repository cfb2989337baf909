// Inner product of two f32 vectors in float64; see dot.hpp.
#include "kernels/cpu/neon/dot.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(dot_f32_v4_neon) = {nullptr, run_dot<DType::f32>, finish_dot};

}  // namespace stepless::kernels
