// Inner product of two bf16 vectors in float64; see dot.hpp.
#include "kernels/cpu/avx2/dot.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(dot_bf16_v8_avx2) = {nullptr, run_dot<DType::bf16>, finish_dot<DType::bf16>};

}  // namespace stepless::kernels
