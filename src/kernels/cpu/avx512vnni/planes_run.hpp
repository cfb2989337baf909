// The product of 4-bit weights with x in planes. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/fused.hpp"
#include "kernels/cpu/avx512vnni/panel.hpp"

namespace stepless::kernels {

template <class F>
static void run_planes(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  static constexpr void (*kFused[kMostRows])(const MatmulArgs&, int64_t, int64_t) = {
      run_fused<F, Nibbles<F>, 1>,  run_fused<F, Nibbles<F>, 2>,  run_fused<F, Nibbles<F>, 3>,
      run_fused<F, Nibbles<F>, 4>,  run_fused<F, Nibbles<F>, 5>,  run_fused<F, Nibbles<F>, 6>,
      run_fused<F, Nibbles<F>, 7>,  run_fused<F, Nibbles<F>, 8>,  run_fused<F, Nibbles<F>, 9>,
      run_fused<F, Nibbles<F>, 10>, run_fused<F, Nibbles<F>, 11>, run_fused<F, Nibbles<F>, 12>};
  if (args.m <= kMostRows) {
    for (int64_t n = units.begin; n < units.end; n += kStrip)
      kFused[args.m - 1](args, n, least(units.end - n, kStrip));
    return;
  }
  run_panels<F, Nibbles<F>>(args, units);
}

}  // namespace stepless::kernels
