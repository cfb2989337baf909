// Ceilings of VPDPWSSD and VPDPBUSD, which multiply and sum in one instruction. The empty asm
// statements keep what the compiler could compute once; they cost no instruction.
#include <immintrin.h>

#include "kernels/ceiling_entry.hpp"

namespace stepless::kernels {

static constexpr int kChains = 12;

static int64_t int16(int64_t steps) {
  const __m512i x = _mm512_set1_epi16(3), y = _mm512_set1_epi16(5);
  __m512i sums[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_setzero_si512();
  for (int64_t s = 0; s < steps; ++s)
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      sums[i] = _mm512_dpwssd_epi32(sums[i], x, y);
      asm volatile("" : "+v"(sums[i]));
    }
  return steps * kChains * 32 * 2;
}

static int64_t int8(int64_t steps) {
  const __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(5);
  __m512i sums[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_setzero_si512();
  for (int64_t s = 0; s < steps; ++s)
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      sums[i] = _mm512_dpbusd_epi32(sums[i], x, y);
      asm volatile("" : "+v"(sums[i]));
    }
  return steps * kChains * 64 * 2;
}

STEPLESS_CEILING(ceilings_avx512vnni) = {nullptr, nullptr, nullptr, int16, int8};

}  // namespace stepless::kernels
