// Attention on four lanes: the portable row.
#include "kernels/cpu/any/attn_lanes.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(attn_full_b16_fany_h1_cpu) = {nullptr, run_attention<Portable, Cache::plain>,
                                              nullptr};

}  // namespace stepless::kernels
