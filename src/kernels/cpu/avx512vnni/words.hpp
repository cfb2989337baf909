// x as two planes of bytes. A group of a row becomes 16-bit integers with a power of two as its
// scale, the least with which its largest number fits; an integer is 256 * high + low. bf16 keeps
// all bits of numbers down to 2^-7 of the group's largest, f16 down to 2^-4. Static only: nothing
// here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/planes.hpp"

namespace stepless::kernels {

template <Mode mode>
using Words = Form<2, mode>;

/// The planes of 32 words are one store: with 128 added and bit 7 flipped back the upper byte of a
/// word is the high plane's and the lower byte the low one's. (To convert words to bytes takes
/// twice as many shuffles.)
static inline void store_both_planes(__m512i words, uint8_t* to) {
  const __m512i both =
      _mm512_xor_si512(_mm512_add_epi16(words, _mm512_set1_epi16(128)), _mm512_set1_epi16(128));
  const __m512i apart = _mm512_shuffle_epi8(
      both,
      _mm512_broadcast_i32x4(_mm_setr_epi8(1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 14)));
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  _mm512_storeu_si512(to, _mm512_permutexvar_epi64(order, apart));
}

template <class F>
static inline void store_words(__m512i words, uint8_t* to) {
  if constexpr (F::kPlane == 32) {
    store_both_planes(words, to);
  } else {
    const __m512i high = _mm512_srai_epi16(_mm512_add_epi16(words, _mm512_set1_epi16(128)), 8);
    store_plane<F::kPlane>(_mm512_cvtepi16_epi8(high), to);
    store_plane<F::kPlane>(_mm512_cvtepi16_epi8(words), to + F::kPlane);
  }
}

/// An entry's prepare().
template <Mode mode, Elements elements>
static constexpr auto prepare_words =
    prepare_planes<Words<mode>, elements, word_scale, store_words<Words<mode>>>;

}  // namespace stepless::kernels
