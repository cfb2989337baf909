// Ceilings of VPDPWSSD and VPDPBUSD without AVX-512. The empty asm statements keep what the
// compiler could compute once; they cost no instruction.
#include <immintrin.h>

#include "kernels/ceiling_entry.hpp"

namespace stepless::kernels {

static int64_t int16(int64_t steps) {
  const __m256i x = _mm256_set1_epi16(3), y = _mm256_set1_epi16(5);
  return 16 * 2 * in_chains<12>(steps, _mm256_setzero_si256(), [&](__m256i& sum) {
           sum = _mm256_dpwssd_avx_epi32(sum, x, y);
           asm volatile("" : "+x"(sum));
         });
}

static int64_t int8(int64_t steps) {
  const __m256i x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(5);
  return 32 * 2 * in_chains<12>(steps, _mm256_setzero_si256(), [&](__m256i& sum) {
           sum = _mm256_dpbusd_avx_epi32(sum, x, y);
           asm volatile("" : "+x"(sum));
         });
}

STEPLESS_CEILING(ceilings_avxvnni) = {nullptr, nullptr, nullptr, int16, int8};

}  // namespace stepless::kernels
