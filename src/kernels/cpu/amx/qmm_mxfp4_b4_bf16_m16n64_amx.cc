// E2M1 weights in groups of 32 with a power of two times bf16 activations by integer tiles. Order
// avx512_i16, as the row of avx512vnni.
#include "kernels/cpu/amx/tiles.hpp"
#include "kernels/cpu/avx512vnni/words.hpp"

namespace stepless::kernels {

using X = Words<Mode::mxfp4>;

static void run(const void* opaque, Slice units) {
  run_tiles<X, Codes<X, 4>>(*static_cast<const MatmulArgs*>(opaque), units);
}

STEPLESS_KERNEL(qmm_mxfp4_b4_bf16_m16n64_amx) = {prepare_tiles<X, Elements::nibbles, word_scale>,
                                                 run, nullptr};

}  // namespace stepless::kernels
