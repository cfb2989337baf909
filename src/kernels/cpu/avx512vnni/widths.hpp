// Products of every affine width. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/planes_run.hpp"

namespace stepless::kernels {

template <class F>
static void run_widths(const MatmulArgs& args, Slice units) {
  static constexpr void (*kByBits[])(const MatmulArgs&, Slice) = {
      nullptr,          run_planes<F, 1>, run_planes<F, 2>, run_planes<F, 3>, run_planes<F, 4>,
      run_planes<F, 5>, run_planes<F, 6>, nullptr,          run_planes<F, 8>};
  kByBits[args.bits](args, units);
}

}  // namespace stepless::kernels
