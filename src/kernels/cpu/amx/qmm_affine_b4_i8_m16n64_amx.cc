// Affine 4-bit weights times activations that are rounded to 8 bits, by integer tiles: --fast-int8
// alone chooses it. Order int8_groups, as the rows of avx2 and avx512vnni.
#include "kernels/cpu/amx/tiles.hpp"
#include "kernels/cpu/avx512vnni/bytes.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice units) {
  run_tiles<Bytes, Codes<Bytes, 4>>(*static_cast<const MatmulArgs*>(opaque), units);
}

STEPLESS_KERNEL(qmm_affine_b4_i8_m16n64_amx) = {prepare_tiles<Bytes, Elements::nibbles, byte_scale>,
                                                run, nullptr};

}  // namespace stepless::kernels
