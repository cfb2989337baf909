// Units of a packed row as bytes. What both ways to multiply share: how many bytes a unit has, rows
// of widths that straddle bytes, codes split where they do not. Static only: nothing here is
// exported.
#pragma once
#include "kernels/cpu/neondot/strip.hpp"

namespace stepless::kernels {

/// Codes a byte holds, for widths that divide eight.
static constexpr int codes_in_byte(int bits) { return 8 % bits == 0 ? 8 / bits : 0; }

/// Elements of a unit: a group of 16 is less than the usual 32.
static constexpr int unit_of(Mode mode) { return mode == Mode::nvfp4 ? 16 : 32; }

/// Vector `s` of those a vector of whole bytes is split into: every byte's s-th code. E2M1 becomes
/// twice its element.
template <Mode kMode, int kBits>
static inline uint8x16_t split_byte(uint8x16_t bytes, int s) {
  constexpr uint8_t kMask = static_cast<uint8_t>((1 << kBits) - 1);
  const uint8x16_t lowered = vshlq_u8(bytes, vdupq_n_s8(static_cast<int8_t>(-s * kBits)));
  const uint8x16_t codes = (s + 1) * kBits == 8 ? lowered : vandq_u8(lowered, vdupq_n_u8(kMask));
  if constexpr (kMode == Mode::affine) return codes;
  static constexpr int8_t kTwice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  return vqtbl1q_u8(vreinterpretq_u8_s8(vld1q_s8(kTwice)), codes);
}

/// The 32 codes of one row whose codes straddle bytes. Loads stay within its 4 * kBits bytes.
template <int kBits>
static inline void unpack_row(const uint8_t* at, uint8x16_t* codes) {
  static_assert(kBits == 3 || kBits == 5 || kBits == 6);
  if constexpr (kBits == 3) {
    const uint8x16_t bytes = load_bytes<12>(at);
    codes[0] = unpack<3>(bytes);
    codes[1] = unpack<3, 6>(bytes);
  } else {
    constexpr int kLater = 4 * kBits - 16;  // the second load ends with the unit
    codes[0] = unpack<kBits>(vld1q_u8(at));
    codes[1] = unpack<kBits, 2 * kBits - kLater>(vld1q_u8(at + kLater));
  }
}

/// The lower (kUpper: upper) eight bytes of both.
template <bool kUpper>
static inline uint8x16_t zip_halves(uint8x16_t a, uint8x16_t b) {
  const uint64x2_t x = vreinterpretq_u64_u8(a), y = vreinterpretq_u64_u8(b);
  return vreinterpretq_u8_u64(kUpper ? vzip2q_u64(x, y) : vzip1q_u64(x, y));
}

/// Which element of a unit stands where, as the index of a table lookup.
template <int kUnit>
struct Places {
  alignas(16) uint8_t of[kUnit] = {};
  /// Where vectors hold `width` codes of a row: vector v, byte j has the code of[width * v + j], of
  /// bytes that hold `per` codes each.
  static constexpr Places of_vectors(int width, int per) {
    Places places;
    for (int p = 0; p < kUnit; ++p) {
      const int v = p / width, j = p % width;
      const int k = per > 1 ? width * per * (v / per) + per * j + v % per : p;
      places.of[p] = static_cast<uint8_t>(k);
    }
    return places;
  }
};

/// Element places.of[p] of a plane for every p.
template <int kUnit>
static inline void permute(const uint8_t* plane, const Places<kUnit>& places, uint8x16_t* to) {
  if constexpr (kUnit == 16) {
    to[0] = vqtbl1q_u8(vld1q_u8(plane), vld1q_u8(places.of));
  } else {
    const uint8x16x2_t both = {{vld1q_u8(plane), vld1q_u8(plane + 16)}};
    to[0] = vqtbl2q_u8(both, vld1q_u8(places.of));
    to[1] = vqtbl2q_u8(both, vld1q_u8(places.of + 16));
  }
}

}  // namespace stepless::kernels
