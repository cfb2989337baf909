// Attention on four lanes.
#include "kernels/cpu/neon/attn_lanes.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(attn_full_b16_fany_h1_neon) = {nullptr, run_attention<Neon, Cache::plain>, nullptr};

}  // namespace stepless::kernels
