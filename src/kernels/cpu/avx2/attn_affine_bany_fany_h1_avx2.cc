// Attention over plain and packed pages on eight lanes.
#include "kernels/cpu/avx2/attn_lanes.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(attn_affine_bany_fany_h1_avx2) = {nullptr, run_attention<Avx2, Cache::mixed>,
                                                  nullptr};

}  // namespace stepless::kernels
