// The gated delta rule on sixteen lanes.
#include <immintrin.h>

#include "kernels/cpu/any/delta_frame.hpp"

namespace stepless::kernels {
namespace {

struct Avx512 {
  static constexpr int L = 16;
  static Floats<16> fma(Floats<16> a, Floats<16> b, Floats<16> c) {
    return _mm512_fmadd_ps(a, b, c);
  }
};

}  // namespace

STEPLESS_KERNEL(delta_f32_m1n64_avx512) = {prepare_delta, Delta<Avx512>::run, nullptr};

}  // namespace stepless::kernels
