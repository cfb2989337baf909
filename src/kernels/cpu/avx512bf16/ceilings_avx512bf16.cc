// The ceiling of VDPBF16PS: 32 products of bf16, summed in float32 by the same instruction.
#include <immintrin.h>

#include "kernels/ceiling_entry.hpp"

namespace stepless::kernels {

static int64_t bf16(int64_t steps) {
  const __m512i half = _mm512_set1_epi16(0x3F00);
  const __m512bh x = reinterpret_cast<const __m512bh&>(half);
  return 32 * 2 * in_chains<12>(steps, _mm512_set1_ps(1.0f), [&](__m512& sum) {
           sum = _mm512_dpbf16_ps(sum, x, x);
           asm volatile("" : "+v"(sum));
         });
}

STEPLESS_CEILING(ceilings_avx512bf16) = {nullptr, nullptr, bf16, nullptr, nullptr};

}  // namespace stepless::kernels
