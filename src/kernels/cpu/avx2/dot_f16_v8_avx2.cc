// Inner product of two f16 vectors in float64; see dot.hpp.
#include "kernels/cpu/avx2/dot.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(dot_f16_v8_avx2) = {nullptr, run_dot<DType::f16>, finish_dot<DType::f16>};

}  // namespace stepless::kernels
