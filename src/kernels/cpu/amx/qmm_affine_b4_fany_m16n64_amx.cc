// Affine 4-bit weights times bf16 or f16 activations by integer tiles (tiles.hpp). Order
// avx512_i16: sums within a group are exact, whatever multiplies.
#include "kernels/cpu/amx/tiles.hpp"
#include "kernels/cpu/avx512vnni/words.hpp"

namespace stepless::kernels {

using X = Words<Mode::affine>;

static void run(const void* opaque, Slice units) {
  run_tiles<X, Codes<X, 4>>(*static_cast<const MatmulArgs*>(opaque), units);
}

STEPLESS_KERNEL(qmm_affine_b4_fany_m16n64_amx) = {prepare_tiles<X, Elements::nibbles, word_scale>,
                                                  run, nullptr};

}  // namespace stepless::kernels
