// Attention over plain and packed pages on sixteen lanes.
#include "kernels/cpu/avx512/attn_lanes.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(attn_affine_bany_fany_h1_avx512) = {nullptr, run_attention<Avx512, Cache::mixed>,
                                                    nullptr};

}  // namespace stepless::kernels
