// Inner product of two f16 vectors in float64; see dot.hpp.
#include "kernels/cpu/avx512/dot.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(dot_f16_v16_avx512) = {nullptr, run_dot<DType::f16>, finish_dot<DType::f16>};

}  // namespace stepless::kernels
