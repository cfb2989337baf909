// Affine weights of every width times bf16 or f16 activations by integers, with USMMLA; the bits
// are those of the neondot row. float32 activations would lose too much for the float32 results
// they give.
#include "kernels/cpu/neonbf16/tiles.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_affine_bany_fany_m8n4_neonbf16) = {AffineEntry<Tiles>::prepare,
                                                       AffineEntry<Tiles>::run, nullptr};

}  // namespace stepless::kernels
