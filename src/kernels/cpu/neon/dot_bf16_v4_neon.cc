// Inner product of two bf16 vectors in float64; see dot.hpp.
#include "kernels/cpu/neon/dot.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(dot_bf16_v4_neon) = {nullptr, run_dot<DType::bf16>, finish_dot};

}  // namespace stepless::kernels
