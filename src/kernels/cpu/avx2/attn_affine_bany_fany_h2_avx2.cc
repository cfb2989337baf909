// Attention over plain pages on eight lanes, and over packed pages in integers.
#include "kernels/cpu/avx2/attn_words.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(attn_affine_bany_fany_h2_avx2) = {nullptr, run_attention<Avx2Words, Cache::mixed>,
                                                  nullptr};

}  // namespace stepless::kernels
