// Attention over plain and packed pages on four lanes.
#include "kernels/cpu/neon/attn_lanes.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(attn_affine_bany_fany_h1_neon) = {nullptr, run_attention<Neon, Cache::mixed>,
                                                  nullptr};

}  // namespace stepless::kernels
