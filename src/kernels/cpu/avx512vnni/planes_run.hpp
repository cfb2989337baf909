// The product of weights with x in planes. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/fused.hpp"
#include "kernels/cpu/avx512vnni/panel.hpp"
#include "kernels/cpu/avx512vnni/woven.hpp"

namespace stepless::kernels {

/// An entry's run(). A tile of up to twelve rows is fused, more go by panels.
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
  if (args.m > kMostRows) return run_panels<F, C>(args, units);
  for (int64_t n = units.begin; n < units.end; n += kStrip)
    kFused[args.m - 1](args, n, least(units.end - n, kStrip));
}

}  // namespace stepless::kernels
