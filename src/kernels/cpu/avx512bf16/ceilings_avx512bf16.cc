// The ceiling of VDPBF16PS: 32 products of bf16, summed in float32 by the same instruction.
#include <immintrin.h>

#include "kernels/ceiling_entry.hpp"

namespace stepless::kernels {

static int64_t bf16(int64_t steps) {
  constexpr int kChains = 12;
  const __m512i half = _mm512_set1_epi16(0x3F00);
  const __m512bh x = reinterpret_cast<const __m512bh&>(half);
  __m512 sums[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(1.0f);
  for (int64_t s = 0; s < steps; ++s)
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      sums[i] = _mm512_dpbf16_ps(sums[i], x, x);
      asm volatile("" : "+v"(sums[i]));
    }
  return steps * kChains * 32 * 2;
}

STEPLESS_CEILING(ceilings_avx512bf16) = {nullptr, nullptr, bf16, nullptr, nullptr};

}  // namespace stepless::kernels
