// Units for SDOT by element: a vector holds four codes of each of four weight rows, and a lane of x
// four elements that all of them meet. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/neondot/products.hpp"
#include "kernels/cpu/neondot/units.hpp"

namespace stepless::kernels {

/// Lane r of to[d] gets dword d of rows[r].
static inline void turn(const uint8x16_t* rows, uint8x16_t* to) {
  uint8x16_t low[2], high[2];  // of rows 0 and 1, 2 and 3: dwords 0 and 2, 1 and 3 in turn
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const uint32x4_t a = vreinterpretq_u32_u8(rows[2 * h]);
    const uint32x4_t b = vreinterpretq_u32_u8(rows[2 * h + 1]);
    low[h] = vreinterpretq_u8_u32(vtrn1q_u32(a, b));
    high[h] = vreinterpretq_u8_u32(vtrn2q_u32(a, b));
  }
  to[0] = zip_halves<false>(low[0], low[1]);
  to[1] = zip_halves<false>(high[0], high[1]);
  to[2] = zip_halves<true>(low[0], low[1]);
  to[3] = zip_halves<true>(high[0], high[1]);
}

namespace {

template <Mode mode, int kBits>
struct Dots {
  static constexpr Mode kMode = mode;
  static constexpr bool kAffine = mode == Mode::affine;
  static constexpr int kUnit = unit_of(mode), kVectors = kUnit / 4;
  static constexpr int kUnitBytes = kUnit * kBits / 8;
  /// SDOT takes signed bytes: codes of 8 bits are 128 less, and the sums begin with 128 times x.
  static constexpr bool kLowered = kAffine && kBits == 8;

  struct Codes {
    uint8x16_t of[kVectors];
  };

  static void lay(const Planes& planes, uint8_t* to) {
    static constexpr auto kPlaces = Places<kUnit>::of_vectors(4, codes_in_byte(kBits));
    uint8x16_t high[kUnit / 16], low[kUnit / 16];
    permute(planes.high, kPlaces, high);
    permute(planes.low, kPlaces, low);
    for (int c = 0; c < kUnit / 16; ++c) {
      vst1q_u8(to + 32 * c, high[c]);
      vst1q_u8(to + 32 * c + 16, low[c]);
    }
  }

  /// Whole bytes: lane r of to[d] gets dword d of row r's unit.
  __attribute__((always_inline)) static inline void turn_bytes(const FourRows& rows, int64_t at,
                                                               uint8x16_t* to) {
    uint8x16_t row[kStrip];
    constexpr int kAtOnce = kUnitBytes < 16 ? kUnitBytes : 16;
#pragma GCC unroll 2
    for (int first = 0; first < kUnitBytes; first += kAtOnce) {
#pragma GCC unroll 4
      for (int r = 0; r < kStrip; ++r) row[r] = load_bytes<kAtOnce>(rows.at[r] + at + first);
      uint8x16_t turned[4];
      turn(row, turned);
#pragma GCC unroll 4
      for (int d = 0; d < kAtOnce / 4; ++d) to[first / 4 + d] = turned[d];
    }
  }

  __attribute__((always_inline)) static inline void decode(const FourRows& rows, int64_t at,
                                                           Codes& codes) {
    if constexpr (codes_in_byte(kBits) > 0) {
      constexpr int kPer = codes_in_byte(kBits);
      uint8x16_t bytes[kUnitBytes / 4];
      turn_bytes(rows, at, bytes);
#pragma GCC unroll 8
      for (int d = 0; d < kUnitBytes / 4; ++d)
#pragma GCC unroll 8
        for (int s = 0; s < kPer; ++s)
          codes.of[kPer * d + s] = kLowered ? veorq_u8(bytes[d], vdupq_n_u8(128))
                                            : split_byte<kMode, kBits>(bytes[d], s);
    } else {
      uint8x16_t first[kStrip], second[kStrip];
#pragma GCC unroll 4
      for (int r = 0; r < kStrip; ++r) {
        uint8x16_t both[2];
        unpack_row<kBits>(rows.at[r] + at, both);
        first[r] = both[0], second[r] = both[1];
      }
      turn(first, codes.of);
      turn(second, codes.of + 4);
    }
  }

  /// Sums of both planes; few rows of x keep even and odd vectors apart, or each would wait for the
  /// one before.
  template <int kM>
  struct Sums {
    static constexpr int kHalves = kM <= 2 ? 2 : 1;
    int32x4_t acc[2][kHalves][kM];

    __attribute__((always_inline)) inline void start(const int32_t* x_sums) {
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h)
#pragma GCC unroll 8
        for (int i = 0; i < kM; ++i) {
          acc[0][h][i] = vdupq_n_s32(0);
          acc[1][h][i] = vdupq_n_s32(kLowered && h == 0 ? 128 * x_sums[i] : 0);
        }
    }

    __attribute__((always_inline)) inline void add(const Codes& codes, const uint8_t* x) {
#pragma GCC unroll 2
      for (int c = 0; c < kUnit / 16; ++c)
#pragma GCC unroll 8
        for (int i = 0; i < kM; ++i)
#pragma GCC unroll 2
          for (int p = 0; p < 2; ++p) {
            const int8x16_t xs = vreinterpretq_s8_u8(vld1q_u8(x + 2 * kUnit * i + 32 * c + 16 * p));
            const uint8x16_t* const q = codes.of + 4 * c;
            int32x4_t& even = acc[p][0][i];
            int32x4_t& odd = acc[p][kHalves - 1][i];
            even = vdotq_laneq_s32(even, vreinterpretq_s8_u8(q[0]), xs, 0);
            odd = vdotq_laneq_s32(odd, vreinterpretq_s8_u8(q[1]), xs, 1);
            even = vdotq_laneq_s32(even, vreinterpretq_s8_u8(q[2]), xs, 2);
            odd = vdotq_laneq_s32(odd, vreinterpretq_s8_u8(q[3]), xs, 3);
          }
    }

    __attribute__((always_inline)) inline int32x4_t whole(int i) const {
      int32x4_t high = acc[0][0][i], low = acc[1][0][i];
      if (kHalves == 2) {
        high = vaddq_s32(high, acc[0][kHalves - 1][i]);
        low = vaddq_s32(low, acc[1][kHalves - 1][i]);
      }
      return vaddq_s32(vshlq_n_s32(high, 8), low);
    }
  };
};

}  // namespace
}  // namespace stepless::kernels
