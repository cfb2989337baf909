// Inner product of two f32 vectors in float64; see dot.hpp.
#include "kernels/cpu/avx2/dot.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(dot_f32_v8_avx2) = {nullptr, run_dot<DType::f32>, finish_dot<DType::f32>};

}  // namespace stepless::kernels
