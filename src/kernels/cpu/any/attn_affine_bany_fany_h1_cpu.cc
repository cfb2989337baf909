// Attention over plain and packed pages on four lanes: the portable row.
#include "kernels/cpu/any/attn_lanes.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(attn_affine_bany_fany_h1_cpu) = {nullptr, run_attention<Portable, Cache::mixed>,
                                                 nullptr};

}  // namespace stepless::kernels
