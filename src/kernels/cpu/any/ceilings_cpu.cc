// Ceilings of the base instruction set: vectors of 16 bytes, a multiply and an add where there is
// no fma.
#include "kernels/ceiling_entry.hpp"

namespace stepless::kernels {

typedef float Floats __attribute__((vector_size(16)));
typedef uint64_t Words __attribute__((vector_size(16), aligned(1), may_alias));

static void read(const uint8_t* at, int64_t bytes) {
  Words sum = {0, 0};
  for (int64_t i = 0; i + 64 <= bytes; i += 64) {
    const Words* p = reinterpret_cast<const Words*>(at + i);
    sum |= (p[0] | p[1]) | (p[2] | p[3]);
  }
  const volatile uint64_t keep = sum[0] | sum[1];
  static_cast<void>(keep);
}

static int64_t f32(int64_t steps) {
  constexpr int kChains = 8;
  const Floats half = {0.5f, 0.5f, 0.5f, 0.5f};
  Floats sums[kChains] = {};
  for (int64_t s = 0; s < steps; ++s)
#pragma GCC unroll 8
    for (int i = 0; i < kChains; ++i) sums[i] = sums[i] * half + half;
  volatile float keep = 0;
  for (int i = 0; i < kChains; ++i) keep = keep + sums[i][0];
  return steps * kChains * 4 * 2;
}

STEPLESS_CEILING(ceilings_cpu) = {read, f32, nullptr, nullptr, nullptr};

}  // namespace stepless::kernels
