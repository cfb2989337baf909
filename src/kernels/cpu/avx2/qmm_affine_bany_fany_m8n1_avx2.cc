// Affine weights of every width times bf16 or f16 activations, by 16-bit integers (i16_tile.hpp).
// float32 activations would lose too much for the float32 results they give.
#include "kernels/cpu/avx2/i16_tile.hpp"

namespace stepless::kernels {

static void prepare(const void* opaque, Slice rows) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  static constexpr void (*kByBits[])(const MatmulArgs&, Slice) = {nullptr,
                                                                  prepare_rows<Mode::affine, 1>,
                                                                  prepare_rows<Mode::affine, 2>,
                                                                  prepare_rows<Mode::affine, 3>,
                                                                  prepare_rows<Mode::affine, 4>,
                                                                  prepare_rows<Mode::affine, 5>,
                                                                  prepare_rows<Mode::affine, 6>,
                                                                  nullptr,
                                                                  prepare_rows<Mode::affine, 8>};
  kByBits[args.bits](args, rows);
}

template <int kBits>
static void run_width(const MatmulArgs& args, Slice units) {
  if (args.group_size == 32) return run_outputs<Mode::affine, kBits, 2>(args, units);
  run_outputs<Mode::affine, kBits, 1>(args, units);
}

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  static constexpr void (*kByBits[])(const MatmulArgs&, Slice) = {
      nullptr,      run_width<1>, run_width<2>, run_width<3>, run_width<4>,
      run_width<5>, run_width<6>, nullptr,      run_width<8>};
  kByBits[args.bits](args, units);
}

STEPLESS_KERNEL(qmm_affine_bany_fany_m8n1_avx2) = {prepare, run, nullptr};

}  // namespace stepless::kernels
