// Affine 4-bit weights times activations that are rounded to 8 bits (i8_prepare.hpp): --fast-int8
// alone chooses it. Order int8_groups, as on AVX-512 with VNNI: sums within a group are exact
// integers; then, group after group, one fma for the bias times the sum of the rounded x and one
// for the scale. A lane is an output, so no tree follows.
#include "kernels/cpu/avx2/i8_lone.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  if (args.m > 1) return run_panels<Nibbles>(args, units);
  for (int64_t n = units.begin; n < units.end; n += kStrip)
    run_lone(args, n, least(units.end - n, kStrip));
}

STEPLESS_KERNEL(qmm_affine_b4_i8_m4n16_avx2) = {prepare_rows<Elements::nibbles>, run, nullptr};

}  // namespace stepless::kernels
