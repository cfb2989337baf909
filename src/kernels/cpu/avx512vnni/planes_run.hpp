// The product of affine 4-bit weights with x in planes. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/fused.hpp"
#include "kernels/cpu/avx512vnni/panel.hpp"

namespace stepless::kernels {

template <int kPlanes>
static void run_planes(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  static constexpr void (*kFused[kMostRows])(const MatmulArgs&, int64_t, int64_t) = {
      run_fused<kPlanes, 1>,  run_fused<kPlanes, 2>,  run_fused<kPlanes, 3>,
      run_fused<kPlanes, 4>,  run_fused<kPlanes, 5>,  run_fused<kPlanes, 6>,
      run_fused<kPlanes, 7>,  run_fused<kPlanes, 8>,  run_fused<kPlanes, 9>,
      run_fused<kPlanes, 10>, run_fused<kPlanes, 11>, run_fused<kPlanes, 12>};
  if (args.m <= kMostRows) {
    for (int64_t n = units.begin; n < units.end; n += kStrip)
      kFused[args.m - 1](args, n, least(units.end - n, kStrip));
    return;
  }
  run_panels<kPlanes, Nibbles>(args, units);
}

}  // namespace stepless::kernels
