// The gated delta rule on four lanes with fused multiply-add.
#include <arm_neon.h>

#include "kernels/cpu/any/delta_frame.hpp"

namespace stepless::kernels {
namespace {

struct Neon {
  static constexpr int L = 4;
  static Floats<4> fma(Floats<4> a, Floats<4> b, Floats<4> c) { return vfmaq_f32(c, a, b); }
};

}  // namespace

STEPLESS_KERNEL(delta_f32_m1n16_neon) = {prepare_delta, Delta<Neon>::run, nullptr};

}  // namespace stepless::kernels
