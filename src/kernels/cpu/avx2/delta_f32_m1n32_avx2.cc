// The gated delta rule on eight lanes with fused multiply-add.
#include <immintrin.h>

#include "kernels/cpu/any/delta_frame.hpp"

namespace stepless::kernels {
namespace {

struct Avx2 {
  static constexpr int L = 8;
  static Floats<8> fma(Floats<8> a, Floats<8> b, Floats<8> c) { return _mm256_fmadd_ps(a, b, c); }
};

}  // namespace

STEPLESS_KERNEL(delta_f32_m1n32_avx2) = {prepare_delta, Delta<Avx2>::run, nullptr};

}  // namespace stepless::kernels
