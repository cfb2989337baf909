// Codes of any width as bytes in the order of the checkpoint: what panels of widths other than four
// bits hold. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/panel.hpp"

namespace stepless::kernels {

/// Bits moved down, or up where `by` is negative; a constant.
__attribute__((always_inline)) static inline __m512i moved_down(__m512i v, int by) {
  return by >= 0 ? _mm512_srli_epi32(v, static_cast<unsigned>(by))
                 : _mm512_slli_epi32(v, static_cast<unsigned>(-by));
}

/// Codes 4 j to 4 j + 3 of the stream in a lane's dwords, a byte each.
template <int kBits>
__attribute__((always_inline)) static inline __m512i four_codes(const __m512i* v, int j) {
  if (kBits == 8) return v[j];
  __m512i codes = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    const int bit = (4 * j + t) * kBits, at = bit % 32 - 8 * t;
    const __m512i field = _mm512_set1_epi32(((1 << kBits) - 1) << 8 * t);
    const __m512i low = _mm512_and_si512(moved_down(v[bit / 32], at), field);
    codes = _mm512_or_si512(codes, low);
    if (bit % 32 + kBits > 32)  // the rest begins the next dword
      codes = _mm512_or_si512(codes, _mm512_and_si512(moved_down(v[bit / 32 + 1], at - 32), field));
  }
  return codes;
}

/// 32 codes of every row: 4 * kBits bytes, none of which is read beyond.
template <int kBits>
struct Naturals {
  static void decode(const Rows& rows, int64_t element, int64_t /*left*/, uint8_t (*to)[64]) {
    constexpr int kWords = 2 * kBits, kMore = kWords > 8 ? kWords - 8 : 8;
    __m512i v[8];
    turn_rows<(kWords < 8)>(rows, element * kBits / 8, first16(2 * kWords), v);
    if constexpr (kWords > 8)
      turn_rows<(kMore < 8)>(rows, element * kBits / 8 + 16, first16(2 * kMore), v + 4);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) _mm512_store_si512(to[j], four_codes<kBits>(v, j));
  }
};

/// x in naturals; panels for every m.
template <class F>
static void run_widths(const MatmulArgs& args, Slice units) {
  static constexpr void (*kByBits[])(const MatmulArgs&, Slice) = {nullptr,
                                                                  run_panels<F, Naturals<1>>,
                                                                  run_panels<F, Naturals<2>>,
                                                                  run_panels<F, Naturals<3>>,
                                                                  run_panels<F, Naturals<4>>,
                                                                  run_panels<F, Naturals<5>>,
                                                                  run_panels<F, Naturals<6>>,
                                                                  nullptr,
                                                                  run_panels<F, Naturals<8>>};
  kByBits[args.bits](args, units);
}

}  // namespace stepless::kernels
