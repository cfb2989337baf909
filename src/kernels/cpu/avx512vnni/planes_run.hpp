// The product of weights with x in planes. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/fused.hpp"
#include "kernels/cpu/avx512vnni/panel.hpp"
#include "kernels/cpu/avx512vnni/woven.hpp"

namespace stepless::kernels {

/// More rows of x go by panels, whose sums stay in registers; groups of sixteen end so often that
/// sums which do not would cost 10 % at two rows, 63 at twelve.
template <class F>
static constexpr int64_t kMostFused = F::kMode == Mode::nvfp4 ? 1 : kMostRows;

/// An entry's run().
template <class F, int kBits>
static void run_planes(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  using C = Codes<F, kBits>;
  static constexpr void (*kFused[kMostRows])(const MatmulArgs&, int64_t, int64_t) = {
      run_fused<F, C, 1>, run_fused<F, C, 2>,  run_fused<F, C, 3>,  run_fused<F, C, 4>,
      run_fused<F, C, 5>, run_fused<F, C, 6>,  run_fused<F, C, 7>,  run_fused<F, C, 8>,
      run_fused<F, C, 9>, run_fused<F, C, 10>, run_fused<F, C, 11>, run_fused<F, C, 12>};
  if constexpr (F::kAffine && F::kPlanes == 2 && C::kFields && kBits < 8)
    if (is_woven<kBits>(args)) return run_woven<F, kBits>(args, units);
  if (args.m > kMostFused<F>) return run_panels<F, C>(args, units);
  for (int64_t n = units.begin; n < units.end; n += kStrip)
    kFused[args.m - 1](args, n, least(units.end - n, kStrip));
}

}  // namespace stepless::kernels
