// Units for SMMLA and USMMLA, which multiply two rows of eight bytes with two: a vector holds eight
// codes of each of two weight rows, and of x eight elements of the high plane, then the same of the
// low one, so that one row of x fills a tile. Order and values are those of neondot: whole sums of
// a group are exact. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/neondot/products.hpp"
#include "kernels/cpu/neondot/units.hpp"

namespace stepless::kernels {

namespace {

template <Mode mode, int kBits>
struct Tiles {
  static constexpr Mode kMode = mode;
  static constexpr bool kAffine = mode == Mode::affine;
  static constexpr int kUnit = unit_of(mode), kVectors = kUnit / 8;
  static constexpr int kUnitBytes = kUnit * kBits / 8;

  struct Codes {
    uint8x16_t of[2][kVectors];  // of rows 0 and 1, 2 and 3
  };

  /// A unit of one-bit codes has four bytes, of which either half makes a byte.
  static void lay(const Planes& planes, uint8_t* to) {
    static constexpr auto kPlaces =
        Places<kUnit>::of_vectors(8, kBits == 1 ? 4 : codes_in_byte(kBits));
    uint8x16_t high[kUnit / 16], low[kUnit / 16];
    permute(planes.high, kPlaces, high);
    permute(planes.low, kPlaces, low);
    for (int c = 0; c < kUnit / 16; ++c) {
      vst1q_u8(to + 32 * c, zip_halves<false>(high[c], low[c]));
      vst1q_u8(to + 32 * c + 16, zip_halves<true>(high[c], low[c]));
    }
  }

  /// Two rows' units of whole bytes, eight bytes of each in a vector.
  __attribute__((always_inline)) static inline void zip_bytes(const uint8_t* a, const uint8_t* b,
                                                              uint8x16_t* to) {
    if constexpr (kUnitBytes == 8) {
      to[0] = vcombine_u8(vld1_u8(a), vld1_u8(b));
    } else {
#pragma GCC unroll 2
      for (int first = 0; first < kUnitBytes; first += 16) {
        const uint8x16_t x = vld1q_u8(a + first), y = vld1q_u8(b + first);
        to[first / 8] = zip_halves<false>(x, y);
        to[first / 8 + 1] = zip_halves<true>(x, y);
      }
    }
  }

  /// One-bit codes: each byte twice, the second time its upper half.
  static inline uint8x16_t half_bytes(const uint8_t* a, const uint8_t* b) {
    const uint8x16_t four = load_bytes<4>(a), other = load_bytes<4>(b);
    const uint8x16_t twice = zip_halves<false>(vzip1q_u8(four, four), vzip1q_u8(other, other));
    const int8x16_t lower = vreinterpretq_s8_u16(vdupq_n_u16(0xFC00));  // 0 and -4 in turn
    return vshlq_u8(twice, lower);
  }

  __attribute__((always_inline)) static inline void decode_two(const uint8_t* a, const uint8_t* b,
                                                               uint8x16_t* to) {
    if constexpr (kBits == 1) {
      const uint8x16_t halves = half_bytes(a, b);
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) to[s] = split_byte<kMode, 1>(halves, s);
    } else if constexpr (codes_in_byte(kBits) > 0) {
      constexpr int kPer = codes_in_byte(kBits);
      uint8x16_t bytes[kUnitBytes / 8];
      zip_bytes(a, b, bytes);
#pragma GCC unroll 4
      for (int d = 0; d < kUnitBytes / 8; ++d)
#pragma GCC unroll 4
        for (int s = 0; s < kPer; ++s) to[kPer * d + s] = split_byte<kMode, kBits>(bytes[d], s);
    } else {
      uint8x16_t first[2], second[2];
      unpack_row<kBits>(a, first);
      unpack_row<kBits>(b, second);
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        to[2 * h] = zip_halves<false>(first[h], second[h]);
        to[2 * h + 1] = zip_halves<true>(first[h], second[h]);
      }
    }
  }

  __attribute__((always_inline)) static inline void decode(const FourRows& rows, int64_t at,
                                                           Codes& codes) {
    decode_two(rows.at[0] + at, rows.at[1] + at, codes.of[0]);
    decode_two(rows.at[2] + at, rows.at[3] + at, codes.of[1]);
  }

  template <int kM>
  struct Sums {
    // Lanes: row 0 times high, times low, row 1 times high, times low. Few rows of x keep even and
    // odd vectors apart, or each would wait for the one before.
    static constexpr int kHalves = kM <= 2 ? 2 : 1;
    int32x4_t acc[2][kHalves][kM];

    __attribute__((always_inline)) inline void start(const int32_t*) {
#pragma GCC unroll 2
      for (int two = 0; two < 2; ++two)
#pragma GCC unroll 2
        for (int h = 0; h < kHalves; ++h)
#pragma GCC unroll 8
          for (int i = 0; i < kM; ++i) acc[two][h][i] = vdupq_n_s32(0);
    }

    __attribute__((always_inline)) inline void add(const Codes& codes, const uint8_t* x) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
#pragma GCC unroll 8
        for (int i = 0; i < kM; ++i) {
          const int8x16_t xs = vreinterpretq_s8_u8(vld1q_u8(x + 2 * kUnit * i + 16 * v));
#pragma GCC unroll 2
          for (int two = 0; two < 2; ++two) {
            int32x4_t& sum = acc[two][v % kHalves][i];
            if constexpr (kAffine)
              sum = vusmmlaq_s32(sum, codes.of[two][v], xs);
            else
              sum = vmmlaq_s32(sum, vreinterpretq_s8_u8(codes.of[two][v]), xs);
          }
        }
    }

    __attribute__((always_inline)) inline int32x4_t whole(int i) const {
      int32x4_t first = acc[0][0][i], second = acc[1][0][i];  // rows 0 and 1, 2 and 3
      if (kHalves == 2) {
        first = vaddq_s32(first, acc[0][kHalves - 1][i]);
        second = vaddq_s32(second, acc[1][kHalves - 1][i]);
      }
      return vaddq_s32(vshlq_n_s32(vuzp1q_s32(first, second), 8), vuzp2q_s32(first, second));
    }
  };
};

}  // namespace
}  // namespace stepless::kernels
