// Dense weights of any float type, converted to float32, then summed by tile.hpp.
#include "kernels/cpu/avx2/tile.hpp"

namespace stepless::kernels {

static void prepare(const void* args, Slice rows) {
  prepare_rows<Mode::affine, 0>(*static_cast<const MatmulArgs*>(args), rows);
}

static void run(const void* args, Slice units) {
  run_outputs<decode_dense>(*static_cast<const MatmulArgs*>(args), units);
}

STEPLESS_KERNEL(mm_fany_m3n4_avx2) = {prepare, run, nullptr};

}  // namespace stepless::kernels
