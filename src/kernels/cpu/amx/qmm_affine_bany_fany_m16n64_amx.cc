// Affine weights of every width times bf16 or f16 activations by integer tiles (tiles.hpp). Order
// avx512_i16, scales of bf16 alone: see the row of avx512vnni.
#include "kernels/cpu/amx/tiles.hpp"
#include "kernels/cpu/avx512vnni/words.hpp"

namespace stepless::kernels {

using X = Words<Mode::affine>;

static void run(const void* opaque, Slice units) {
  run_tile_widths<X>(*static_cast<const MatmulArgs*>(opaque), units);
}

STEPLESS_KERNEL(qmm_affine_bany_fany_m16n64_amx) = {
    prepare_tiles<X, Elements::naturals, word_scale>, run, nullptr};

}  // namespace stepless::kernels
