// Affine 4-bit weights as they lie in the checkpoint times bf16 or f16 activations by integers
// (planes.hpp): VPDPBUSD sums code times x exactly within a group, then one float32 fma scales the
// sum. One order for every m: for each group in turn, first bias times the sum of x, then scale
// times the integer. A lane is an output, so no tree follows.
#include "kernels/cpu/avx512vnni/fused.hpp"
#include "kernels/cpu/avx512vnni/panel.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  static constexpr void (*kFused[kMostRows])(const MatmulArgs&, int64_t, int64_t) = {
      run_fused<1>, run_fused<2>, run_fused<3>, run_fused<4>,  run_fused<5>,  run_fused<6>,
      run_fused<7>, run_fused<8>, run_fused<9>, run_fused<10>, run_fused<11>, run_fused<12>};
  if (args.m <= kMostRows) {
    for (int64_t n = units.begin; n < units.end; n += kStrip)
      kFused[args.m - 1](args, n, least(units.end - n, kStrip));
    return;
  }
  // Rows of x that stay in L2 while the slice of weights passes: 1 MiB of planes.
  const int64_t fit = (1 << 20) / (2 * kMostRows * padded(args.k));
  const int64_t step = fit < 1 ? 1 : least(fit, kMostBlocks), blocks = count_blocks(args);
  for (int64_t b = 0; b < blocks; b += step)
    for (int64_t n = units.begin; n < units.end; n += kWide * kStrip)
      run_panels(args, b, least(b + step, blocks), n, least(units.end - n, kWide * kStrip));
}

STEPLESS_KERNEL(qmm_affine_b4_fany_m12n32_avx512vnni) = {prepare_rows, run, nullptr};

}  // namespace stepless::kernels
