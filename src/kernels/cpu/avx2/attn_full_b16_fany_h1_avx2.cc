// Attention on eight lanes.
#include "kernels/cpu/avx2/attn_lanes.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(attn_full_b16_fany_h1_avx2) = {nullptr, run_attention<Avx2, Cache::plain>, nullptr};

}  // namespace stepless::kernels
