// Codes of any width as bytes: vector d holds dword d of every row's 32 codes, and of these dwords
// come eight vectors of four codes a row, as VPDPBUSD takes them. Static only: nothing here is
// exported.
#pragma once
#include "kernels/cpu/avx512vnni/strip.hpp"

namespace stepless::kernels {

/// Where the mask has bits, those of a, else those of b.
static inline __m512i choose(int32_t mask, __m512i a, __m512i b) {
  return _mm512_ternarylogic_epi32(_mm512_set1_epi32(mask), a, b, 0xCA);
}

/// Bytes of four codes, without what came along above them.
template <int kBits>
__attribute__((always_inline)) static inline __m512i cut_to(__m512i bytes) {
  return _mm512_and_si512(bytes, _mm512_set1_epi8((1 << kBits) - 1));
}

/// Four codes next to one another in the low bits of a lane, as bytes: two and two part, then one
/// and one.
template <int kBits>
__attribute__((always_inline)) static inline __m512i spread(__m512i v) {
  const __m512i pairs = choose(0x0000FFFF, v, _mm512_slli_epi32(v, 16 - 2 * kBits));
  return cut_to<kBits>(choose(0x00FF00FF, pairs, _mm512_slli_epi32(pairs, 8 - kBits)));
}

#ifdef __AVX512VBMI2__
/// Four codes from bit `at` of a row's dwords on, as bytes: a byte of VPMULTISHIFTQB is any eight
/// bits of the 64 that it lies in, and it cuts off nothing.
template <int kBits>
__attribute__((always_inline)) static inline __m512i codes_at(const __m512i* v, int at) {
  const int d = at / 32, begin = at % 32, first = begin + 4 * kBits <= 32 ? begin : 0;
  const __m512i lane =
      first == begin ? v[d] : _mm512_shrdi_epi32(v[d], v[d + 1], static_cast<unsigned>(begin));
  uint64_t places = 0;  // the second lane of the 64 bits begins at 32
  for (int i = 0; i < 8; ++i)
    places |= static_cast<uint64_t>(first + i % 4 * kBits + i / 4 * 32) << (8 * i);
  return cut_to<kBits>(
      _mm512_multishift_epi64_epi8(_mm512_set1_epi64(static_cast<int64_t>(places)), lane));
}
#else
template <int kBits>
__attribute__((always_inline)) static inline __m512i codes_at(const __m512i* v, int at) {
  const int d = at / 32;
  const unsigned begin = static_cast<unsigned>(at % 32);
  if (begin == 0) return spread<kBits>(v[d]);
  __m512i lane = _mm512_srli_epi32(v[d], begin);
  if (begin + 4 * kBits > 32) lane = _mm512_or_si512(lane, _mm512_slli_epi32(v[d + 1], 32 - begin));
  return spread<kBits>(lane);
}
#endif

/// Widths that divide a byte are fields of all bytes of a dword: no bit moves to another byte, and
/// planes of x come in the order of fields. Others keep the order of the checkpoint.
template <class F, int bits>
struct Codes {
  static constexpr int kBits = bits;
  static constexpr bool kFields = 8 % bits == 0;
  static constexpr int kBytes = 4 * bits;  // of a row
  static_assert(F::kPlane == kUnit || bits == 4);

  /// The dwords of a unit from byte `at` on; of the last of a row `left` elements.
  __attribute__((always_inline)) static inline void load(const Rows& rows, int64_t at, int64_t left,
                                                         __m512i* v) {
    if (F::kPlane < kUnit && left < kUnit)
      turn_rows<true>(rows, at, 0xFF, v);
    else if (kBytes < 16 && left * bits >= 128)  // more than is used
      turn_rows<false>(rows, at, 0xFFFF, v);
    else
      turn_rows<(kBytes < 16)>(rows, at, first16(kBytes), v);
    if constexpr (kBytes > 16) {
      __m512i last[4];  // the last sixteen bytes, some for the second time
      turn_rows<false>(rows, at + kBytes - 16, 0xFFFF, last);
#pragma GCC unroll 4
      for (int d = 4; d < bits; ++d) v[d] = last[d - bits + 4];
    }
  }

  /// Vector j of the eight.
  __attribute__((always_inline)) static inline __m512i four(const __m512i* v, int j) {
    if constexpr (!kFields) {
      return codes_at<bits>(v, 4 * bits * j);
    } else if constexpr (bits == 8) {
      return v[j];
    } else {
      constexpr int kOfDword = 8 / bits;
      const unsigned from = static_cast<unsigned>(bits * (j % kOfDword));
      const __m512i dword = v[j / kOfDword];
      const __m512i codes = cut_to<bits>(from == 0 ? dword : _mm512_srli_epi32(dword, from));
      return bits == 4 ? bytes_of<F>(codes) : codes;
    }
  }
};

}  // namespace stepless::kernels
