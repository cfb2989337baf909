// Codes of any width as bytes in the order of the checkpoint. Static only: nothing here is
// exported.
#pragma once
#include "kernels/cpu/any/picks.hpp"
#include "kernels/cpu/avx512vnni/codes.hpp"

namespace stepless::kernels {

/// Codes kFirst * 4 to kFirst * 4 + 15 of every row, so that dword j holds the bytes of four.
template <int kBits, int kFirst, int kFrom>
__attribute__((always_inline)) static inline void turn_codes(const __m512i* a, __m512i* v) {
  static constexpr Picks<kBits, kFirst, kFrom> kPicks;
  const __m512i picks =
      _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(kPicks.of)));
  __m512i picked[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) picked[j] = _mm512_shuffle_epi8(a[j], picks);
  turn(picked, v);
}

/// 32 codes of every row: 4 * kBits bytes, none of which is read beyond.
template <int bits>
struct Naturals {
  static constexpr int kBits = bits;
  __attribute__((always_inline)) static inline void load(const Rows& rows, int64_t at,
                                                         int64_t /*left*/, __m512i* v) {
    constexpr int kBytes = 4 * kBits, kSecond = kBytes > 16 ? kBytes - 16 : 0;  // where it begins
    __m512i a[4];
    load_rows<(kBytes < 16)>(rows, at, first16(kBytes), a);
    turn_codes<kBits, 0, 0>(a, v);
    if constexpr (kSecond > 0) load_rows<false>(rows, at + kSecond, 0xFFFF, a);
    turn_codes<kBits, 4, kSecond>(a, v + 4);
  }
  __attribute__((always_inline)) static inline __m512i four(const __m512i* v, int j) {
    return j % 2 == 0 ? spread<kBits>(v[j]) : spread<kBits>(_mm512_srli_epi32(v[j], 4 * kBits % 8));
  }
};

template <>
struct Naturals<8> {
  static constexpr int kBits = 8;
  __attribute__((always_inline)) static inline void load(const Rows& rows, int64_t at,
                                                         int64_t /*left*/, __m512i* v) {
    turn_rows<false>(rows, at, 0xFFFF, v);
    turn_rows<false>(rows, at + 16, 0xFFFF, v + 4);
  }
  __attribute__((always_inline)) static inline __m512i four(const __m512i* v, int j) {
    return v[j];
  }
};

}  // namespace stepless::kernels
