// Ceilings of AVX-512. The empty asm statements keep what the compiler could compute once or not at
// all; they cost no instruction.
#include <immintrin.h>

#include "kernels/ceiling_entry.hpp"

namespace stepless::kernels {

/// Four streams 8 KiB apart, each prefetched a block ahead, as the AVX2 loop.
static void read(const uint8_t* at, int64_t bytes) {
  constexpr int64_t kStream = 8192;
  __m512i sum = _mm512_setzero_si512();
  for (int64_t block = 0; block + 4 * kStream <= bytes; block += 4 * kStream)
    for (int64_t i = 0; i < kStream; i += 64)
#pragma GCC unroll 4
      for (int64_t stream = 0; stream < 4; ++stream) {
        const uint8_t* const line = at + block + stream * kStream + i;
        _mm_prefetch(reinterpret_cast<const char*>(line + 4 * kStream), _MM_HINT_T0);
        sum = _mm512_or_si512(sum, _mm512_loadu_si512(line));
      }
  asm volatile("" ::"v"(sum));
}

static int64_t f32(int64_t steps) {
  const __m512 half = _mm512_set1_ps(0.5f);
  return 16 * 2 * in_chains<12>(steps, half, [&](__m512& sum) {
           sum = _mm512_fmadd_ps(sum, half, half);
           asm volatile("" : "+v"(sum));
         });
}

/// Products and the add that sums them: 32 of each per pair of instructions.
static int64_t int16(int64_t steps) {
  __m512i x = _mm512_set1_epi16(3);
  const __m512i y = _mm512_set1_epi16(5);
  return 32 * 2 * in_chains<12>(steps, _mm512_setzero_si512(), [&](__m512i& sum) {
           asm volatile("" : "+v"(x));
           sum = _mm512_add_epi32(sum, _mm512_madd_epi16(x, y));
           asm volatile("" : "+v"(sum));
         });
}

/// Without a dot instruction: products of bytes, pairs widened, the add.
static int64_t int8(int64_t steps) {
  __m512i x = _mm512_set1_epi8(3);
  const __m512i y = _mm512_set1_epi8(5), ones = _mm512_set1_epi16(1);
  return 64 * 2 * in_chains<12>(steps, _mm512_setzero_si512(), [&](__m512i& sum) {
           asm volatile("" : "+v"(x));
           sum = _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(x, y), ones));
           asm volatile("" : "+v"(sum));
         });
}

STEPLESS_CEILING(ceilings_avx512) = {read, f32, nullptr, int16, int8};

}  // namespace stepless::kernels
