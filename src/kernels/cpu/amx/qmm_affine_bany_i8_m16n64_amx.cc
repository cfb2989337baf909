// Affine weights of every width times activations that are rounded to 8 bits, by integer tiles.
// Order int8_groups, as the row of four bits, which is faster where it can run.
#include "kernels/cpu/amx/tiles.hpp"
#include "kernels/cpu/avx512vnni/bytes.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice units) {
  run_tile_widths<Bytes>(*static_cast<const MatmulArgs*>(opaque), units);
}

STEPLESS_KERNEL(qmm_affine_bany_i8_m16n64_amx) = {
    prepare_tiles<Bytes, Elements::naturals, byte_scale>, run, nullptr};

}  // namespace stepless::kernels
