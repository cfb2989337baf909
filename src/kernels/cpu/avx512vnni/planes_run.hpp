// The product of weights with x in planes. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/panel.hpp"
#include "kernels/cpu/avx512vnni/sixteens.hpp"
#include "kernels/cpu/avx512vnni/woven.hpp"

namespace stepless::kernels {

/// Outputs n0 .. n0 + count - 1 of kM rows of x. More rows go by panels.
template <class F, class C, int kM>
static inline void run_few(const MatmulArgs& args, int64_t n0, int64_t count) {
  if constexpr (F::kPlane < kUnit)
    run_sixteens<F, kM>(args, n0, count);
  else
    run_fused<F, C, kM>(args, n0, count);
}

/// An entry's run().
template <class F, int kBits>
static void run_planes(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  using C = Codes<F, kBits>;
  static constexpr void (*kFew[kMostRows])(const MatmulArgs&, int64_t, int64_t) = {
      run_few<F, C, 1>, run_few<F, C, 2>,  run_few<F, C, 3>,  run_few<F, C, 4>,
      run_few<F, C, 5>, run_few<F, C, 6>,  run_few<F, C, 7>,  run_few<F, C, 8>,
      run_few<F, C, 9>, run_few<F, C, 10>, run_few<F, C, 11>, run_few<F, C, 12>};
  if constexpr (F::kAffine && F::kPlanes == 2 && C::kFields && kBits < 8)
    if (is_woven<kBits>(args)) return run_woven<F, kBits>(args, units);
  if (args.m > kMostRows) return run_panels<F, C>(args, units);
  for (int64_t n = units.begin; n < units.end; n += kStrip)
    kFew[args.m - 1](args, n, least(units.end - n, kStrip));
}

}  // namespace stepless::kernels
