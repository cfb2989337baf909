// x as two planes of bytes. A group of a row becomes 16-bit integers with a power of two as its
// scale, the least with which its largest number fits; an integer is 256 * high + low. bf16 keeps
// all bits of numbers down to 2^-7 of the group's largest, f16 down to 2^-4. Static only: nothing
// here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/planes.hpp"

namespace stepless::kernels {

/// The exponent, as float32 stores it, of a group's largest number; one more where that would give
/// an integer above 32639, which has no planes. Below 2^-103 (absolute) precision ends, so that
/// every power of two made of it is a normal number. With NaN or infinity (255 and more) the scale
/// is NaN, whatever the integers are.
static inline GroupScale word_scale(uint32_t largest) {
  const uint32_t sum = (largest + 0x10000) >> 23, exponent = sum > 24 ? sum : 24;
  if (exponent >= 255) return {0, __builtin_bit_cast(float, 0x7FC00000u)};
  return {__builtin_bit_cast(float, (268 - exponent) << 23),
          __builtin_bit_cast(float, (exponent - 14) << 23)};
}

template <Mode mode>
using Words = Form<2, mode>;

template <class F>
static inline void store_words(__m512i words, uint8_t* to) {
  const __m512i high = _mm512_srai_epi16(_mm512_add_epi16(words, _mm512_set1_epi16(128)), 8);
  store_plane<F::kPlane>(_mm512_cvtepi16_epi8(high), to);
  store_plane<F::kPlane>(_mm512_cvtepi16_epi8(words), to + F::kPlane);
}

}  // namespace stepless::kernels
