// Codes of any width as bytes in the order of the checkpoint, and the products of widths other than
// four bits. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/panel.hpp"

namespace stepless::kernels {

/// Which bytes of a load hold codes 4 j to 4 j + 3 of a row, for four j's: dword d of each quarter
/// gets those of j = d + kFirst, of a load that begins with byte kFrom of 32 codes.
template <int kBits, int kFirst, int kFrom>
struct Picks {
  alignas(16) uint8_t of[16] = {};
  constexpr Picks() {
    for (int i = 0; i < 16; ++i) {
      const int bit = 4 * kBits * (kFirst + i / 4);
      const int from = bit / 8 + i % 4, end = (bit + 4 * kBits + 7) / 8;
      of[i] = static_cast<uint8_t>(from < end ? from - kFrom : 0x80);
    }
  }
};

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

/// Where the mask has bits, those of a, else those of b.
static inline __m512i choose(int32_t mask, __m512i a, __m512i b) {
  return _mm512_ternarylogic_epi32(_mm512_set1_epi32(mask), a, b, 0xCA);
}

/// Four codes next to one another, from bit kFrom of a lane, as bytes: two and two part, then one
/// and one; what came along is cut off last.
template <int kBits, int kFrom>
__attribute__((always_inline)) static inline __m512i four_codes(__m512i v) {
  if constexpr (kFrom > 0) v = _mm512_srli_epi32(v, kFrom);
  const __m512i pairs = choose(0x0000FFFF, v, _mm512_slli_epi32(v, 16 - 2 * kBits));
  const __m512i codes = choose(0x00FF00FF, pairs, _mm512_slli_epi32(pairs, 8 - kBits));
  return _mm512_and_si512(codes, _mm512_set1_epi8((1 << kBits) - 1));
}

/// 32 codes of every row: 4 * kBits bytes, none of which is read beyond.
template <int bits>
struct Naturals {
  static constexpr int kBits = bits;
  static constexpr bool kQueued = false;
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
    return j % 2 == 0 ? four_codes<kBits, 0>(v[j]) : four_codes<kBits, 4 * kBits % 8>(v[j]);
  }
};

template <>
struct Naturals<8> {
  static constexpr int kBits = 8;
  static constexpr bool kQueued = false;
  __attribute__((always_inline)) static inline void load(const Rows& rows, int64_t at,
                                                         int64_t /*left*/, __m512i* v) {
    turn_rows<false>(rows, at, 0xFFFF, v);
    turn_rows<false>(rows, at + 16, 0xFFFF, v + 4);
  }
  __attribute__((always_inline)) static inline __m512i four(const __m512i* v, int j) {
    return v[j];
  }
};

/// Few rows of x go without panels: more would be more code than they are worth.
static constexpr int64_t kFewRows = 4;

template <class F, int kBits>
static void run_width(const MatmulArgs& args, Slice units) {
  using Codes = Naturals<kBits>;
  static constexpr void (*kFused[kFewRows])(const MatmulArgs&, int64_t, int64_t) = {
      run_fused<F, Codes, 1>, run_fused<F, Codes, 2>, run_fused<F, Codes, 3>,
      run_fused<F, Codes, 4>};
  if (args.m > kFewRows) return run_panels<F, Codes>(args, units);
  for (int64_t n = units.begin; n < units.end; n += kStrip)
    kFused[args.m - 1](args, n, least(units.end - n, kStrip));
}

/// x in naturals.
template <class F>
static void run_widths(const MatmulArgs& args, Slice units) {
  static constexpr void (*kByBits[])(const MatmulArgs&, Slice) = {
      nullptr,         run_width<F, 1>, run_width<F, 2>, run_width<F, 3>, run_width<F, 4>,
      run_width<F, 5>, run_width<F, 6>, nullptr,         run_width<F, 8>};
  kByBits[args.bits](args, units);
}

}  // namespace stepless::kernels
