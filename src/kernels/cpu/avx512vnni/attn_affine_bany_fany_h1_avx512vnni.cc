// Attention over plain pages on sixteen lanes, and over packed pages in integers.
#include "kernels/cpu/avx512vnni/attn_planes.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(attn_affine_bany_fany_h1_avx512vnni) = {
    nullptr, run_attention<Avx512Vnni, Cache::mixed>, nullptr};

}  // namespace stepless::kernels
