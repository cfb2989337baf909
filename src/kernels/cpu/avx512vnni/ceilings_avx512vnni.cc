// Ceilings of VPDPWSSD and VPDPBUSD, which multiply and sum in one instruction. The empty asm
// statements keep what the compiler could compute once; they cost no instruction.
#include <immintrin.h>

#include "kernels/ceiling_entry.hpp"

namespace stepless::kernels {

static int64_t int16(int64_t steps) {
  const __m512i x = _mm512_set1_epi16(3), y = _mm512_set1_epi16(5);
  return 32 * 2 * in_chains<12>(steps, _mm512_setzero_si512(), [&](__m512i& sum) {
           sum = _mm512_dpwssd_epi32(sum, x, y);
           asm volatile("" : "+v"(sum));
         });
}

static int64_t int8(int64_t steps) {
  const __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(5);
  return 64 * 2 * in_chains<12>(steps, _mm512_setzero_si512(), [&](__m512i& sum) {
           sum = _mm512_dpbusd_epi32(sum, x, y);
           asm volatile("" : "+v"(sum));
         });
}

STEPLESS_CEILING(ceilings_avx512vnni) = {nullptr, nullptr, nullptr, int16, int8};

}  // namespace stepless::kernels
