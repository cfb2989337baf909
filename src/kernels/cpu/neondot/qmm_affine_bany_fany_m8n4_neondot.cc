// Affine weights of every width times bf16 or f16 activations by integers (products.hpp), with
// SDOT. float32 activations would lose too much for the float32 results they give.
#include "kernels/cpu/neondot/dots.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_affine_bany_fany_m8n4_neondot) = {AffineEntry<Dots>::prepare,
                                                      AffineEntry<Dots>::run, nullptr};

}  // namespace stepless::kernels
