// Products of every affine width. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/planes_run.hpp"

namespace stepless::kernels {

/// An entry's run().
template <class F>
static void run_widths(const void* opaque, Slice units) {
  static constexpr void (*kByBits[])(const void*, Slice) = {
      nullptr,          run_planes<F, 1>, run_planes<F, 2>, run_planes<F, 3>, run_planes<F, 4>,
      run_planes<F, 5>, run_planes<F, 6>, nullptr,          run_planes<F, 8>};
  kByBits[static_cast<const MatmulArgs*>(opaque)->bits](opaque, units);
}

}  // namespace stepless::kernels
