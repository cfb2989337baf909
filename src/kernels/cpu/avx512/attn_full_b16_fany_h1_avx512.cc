// Attention on sixteen lanes.
#include "kernels/cpu/avx512/attn_lanes.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(attn_full_b16_fany_h1_avx512) = {nullptr, run_attention<Avx512, Cache::plain>,
                                                 nullptr};

}  // namespace stepless::kernels
