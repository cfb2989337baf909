// E2M1 weights in groups of 16 with an E4M3 scale times bf16 activations, by 16-bit integers
// (i16_tile.hpp). f16 loses what the element-wise bounds of tests/golden/ops/special do not allow.
#include "kernels/cpu/avx2/i16_tile.hpp"

namespace stepless::kernels {

static void prepare(const void* opaque, Slice rows) {
  prepare_rows<Mode::nvfp4, 4>(*static_cast<const MatmulArgs*>(opaque), rows);
}

static void run(const void* opaque, Slice units) {
  run_outputs<Mode::nvfp4, 4, 4>(*static_cast<const MatmulArgs*>(opaque), units);
}

STEPLESS_KERNEL(qmm_nvfp4_b4_fany_m8n1_avx2) = {prepare, run, nullptr};

}  // namespace stepless::kernels
