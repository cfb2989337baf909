// x as two planes of bytes. A group of a row becomes 16-bit integers with a power of two as its
// scale, the least with which its largest number fits; an integer is 256 * high + low. bf16 keeps
// all bits of numbers down to 2^-7 of the group's largest, f16 down to 2^-4. Static only: nothing
// here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/planes.hpp"

namespace stepless::kernels {

template <Mode mode>
using Words = Form<2, mode>;

template <class F>
static inline void store_words(__m512i words, uint8_t* to) {
  const __m512i high = _mm512_srai_epi16(_mm512_add_epi16(words, _mm512_set1_epi16(128)), 8);
  store_plane<F::kPlane>(_mm512_cvtepi16_epi8(high), to);
  store_plane<F::kPlane>(_mm512_cvtepi16_epi8(words), to + F::kPlane);
}

}  // namespace stepless::kernels
