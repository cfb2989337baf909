// Ceilings of AVX2. The empty asm statements keep what the compiler could compute once or not at
// all; they cost no instruction.
#include <immintrin.h>

#include "kernels/ceiling_entry.hpp"

namespace stepless::kernels {

/// Four streams 8 KiB apart, each prefetched a block ahead: one stream reads a third less on Zen 3
/// than the best kernels do.
static void read(const uint8_t* at, int64_t bytes) {
  constexpr int64_t kStream = 8192;
  __m256i sum = _mm256_setzero_si256();
  for (int64_t block = 0; block + 4 * kStream <= bytes; block += 4 * kStream)
    for (int64_t i = 0; i < kStream; i += 64)
#pragma GCC unroll 4
      for (int64_t stream = 0; stream < 4; ++stream) {
        const uint8_t* const line = at + block + stream * kStream + i;
        _mm_prefetch(reinterpret_cast<const char*>(line + 4 * kStream), _MM_HINT_T0);
        const __m256i* p = reinterpret_cast<const __m256i*>(line);
        sum =
            _mm256_or_si256(sum, _mm256_or_si256(_mm256_loadu_si256(p), _mm256_loadu_si256(p + 1)));
      }
  asm volatile("" ::"x"(sum));
}

static int64_t f32(int64_t steps) {
  const __m256 half = _mm256_set1_ps(0.5f);
  return 8 * 2 * in_chains<10>(steps, half, [&](__m256& sum) {
           sum = _mm256_fmadd_ps(sum, half, half);
           asm volatile("" : "+x"(sum));
         });
}

/// Products and the add that sums them: 16 of each per pair of instructions.
static int64_t int16(int64_t steps) {
  __m256i x = _mm256_set1_epi16(3);
  const __m256i y = _mm256_set1_epi16(5);
  return 16 * 2 * in_chains<8>(steps, _mm256_setzero_si256(), [&](__m256i& sum) {
           asm volatile("" : "+x"(x));
           sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, y));
           asm volatile("" : "+x"(sum));
         });
}

/// Without a dot instruction: products of bytes, pairs widened, the add.
static int64_t int8(int64_t steps) {
  __m256i x = _mm256_set1_epi8(3);
  const __m256i y = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
  return 32 * 2 * in_chains<8>(steps, _mm256_setzero_si256(), [&](__m256i& sum) {
           asm volatile("" : "+x"(x));
           sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), ones));
           asm volatile("" : "+x"(sum));
         });
}

STEPLESS_CEILING(ceilings_avx2) = {read, f32, nullptr, int16, int8};

}  // namespace stepless::kernels
