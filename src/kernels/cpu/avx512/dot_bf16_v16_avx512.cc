// Inner product of two bf16 vectors in float64; see dot.hpp.
#include "kernels/cpu/avx512/dot.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(dot_bf16_v16_avx512) = {nullptr, run_dot<DType::bf16>, finish_dot<DType::bf16>};

}  // namespace stepless::kernels
