// The gated delta rule on four lanes (SSE2, NEON by GCC vector types): the portable row.
#include "kernels/cpu/any/delta_frame.hpp"

namespace stepless::kernels {
namespace {

struct Portable {
  static constexpr int L = 4;
  static Floats<4> fma(Floats<4> a, Floats<4> b, Floats<4> c) { return a * b + c; }
};

}  // namespace

STEPLESS_KERNEL(delta_f32_m1n16_cpu) = {prepare_delta, Delta<Portable>::run, nullptr};

}  // namespace stepless::kernels
