// Codes of eight weight rows as bytes, a lane of a vector a row, 32 of each row at a time: what
// panels hold. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx2/i8_prepare.hpp"

namespace stepless::kernels {

static constexpr int64_t kStrip = 8;

/// The rows of a strip; beyond the last it stands again, and is not stored.
struct Strip {
  int64_t row[kStrip];
  const uint8_t* codes[kStrip];
};

static inline Strip strip_at(const MatmulArgs& args, int64_t n0) {
  Strip strip;
  for (int64_t r = 0; r < kStrip; ++r) {
    strip.row[r] = least(n0 + r, args.n - 1);
    strip.codes[r] = args.w + strip.row[r] * args.w_row_bytes;
  }
  return strip;
}

/// The next kBytes, none of which is read beyond; the rest are zero.
template <int kBytes>
static inline __m128i load_part(const uint8_t* at) {
  if constexpr (kBytes >= 16) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  if constexpr (kBytes == 4) return _mm_loadu_si32(at);
  const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at));
  if constexpr (kBytes == 8) return low;
  int32_t high;
  memcpy(&high, at + 8, 4);
  return _mm_insert_epi32(low, high, 2);
}

/// Up to sixteen bytes of every row from byte `at` on: dword d of each, in v[d].
template <int kBytes>
static inline void turn_rows(const Strip& strip, int64_t at, __m256i* v) {
  const auto two = [&](int r) {
    const auto half = [&](int row) { return load_part<kBytes>(strip.codes[row] + at); };
    return _mm256_inserti128_si256(_mm256_castsi128_si256(half(r)), half(r + 4), 1);
  };
  const __m256i a = two(0), b = two(1), c = two(2), d = two(3);
  const __m256i low01 = _mm256_unpacklo_epi32(a, b), low23 = _mm256_unpacklo_epi32(c, d);
  const __m256i high01 = _mm256_unpackhi_epi32(a, b), high23 = _mm256_unpackhi_epi32(c, d);
  v[0] = _mm256_unpacklo_epi64(low01, low23);
  v[1] = _mm256_unpackhi_epi64(low01, low23);
  v[2] = _mm256_unpacklo_epi64(high01, high23);
  v[3] = _mm256_unpackhi_epi64(high01, high23);
}

static inline void store_codes(uint8_t (*to)[32], __m256i codes) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(*to), codes);
}

/// Four bits: dword 2 t + h of 32 codes holds codes 8 t + h + {0, 2, 4, 6}.
struct Nibbles {
  static constexpr int64_t kBits = 4;
  static constexpr int kDwords = 8;  // whose products fit 16 bits: 16 * 15 * 127 does
  static void decode(const Strip& strip, int64_t element, uint8_t (*to)[32], int64_t) {
    const __m256i nibbles = _mm256_set1_epi8(15);
    __m256i v[4];
    turn_rows<16>(strip, element / 2, v);
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) {
      store_codes(to + 2 * t, _mm256_and_si256(v[t], nibbles));
      store_codes(to + 2 * t + 1, _mm256_and_si256(_mm256_srli_epi16(v[t], 4), nibbles));
    }
  }
};

/// Bits moved down, or up where `by` is negative; a constant.
__attribute__((always_inline)) static inline __m256i moved_down(__m256i v, int by) {
  return by >= 0 ? _mm256_srli_epi32(v, by) : _mm256_slli_epi32(v, -by);
}

/// Codes 4 j to 4 j + 3 of the stream in a lane's dwords, a byte each.
template <int kBits>
__attribute__((always_inline)) static inline __m256i four_codes(const __m256i* v, int j) {
  if (kBits == 8) return v[j];
  __m256i codes = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    const int bit = (4 * j + t) * kBits, at = bit % 32 - 8 * t;
    const __m256i field = _mm256_set1_epi32(((1 << kBits) - 1) << 8 * t);
    const __m256i low = _mm256_and_si256(moved_down(v[bit / 32], at), field);
    codes = _mm256_or_si256(codes, low);
    if (bit % 32 + kBits > 32)  // the rest begins the next dword
      codes = _mm256_or_si256(codes, _mm256_and_si256(moved_down(v[bit / 32 + 1], at - 32), field));
  }
  return codes;
}

/// Any width, in the order of the checkpoint. Eight bits times x would not fit 16 bits twice: they
/// go in halves.
template <int kWidth>
struct Naturals {
  static constexpr int64_t kBits = kWidth;
  static constexpr int kDwords = kWidth == 5 ? 4 : kWidth == 6 ? 2 : 8;
  static void decode(const Strip& strip, int64_t element, uint8_t (*to)[32], int64_t upper) {
    constexpr int kBytes = 4 * kWidth;
    __m256i v[8];
    turn_rows<(kBytes < 16 ? kBytes : 16)>(strip, element * kWidth / 8, v);
    if constexpr (kBytes > 16) turn_rows<kBytes - 16>(strip, element * kWidth / 8 + 16, v + 4);
    const __m256i nibbles = _mm256_set1_epi8(15);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      const __m256i codes = four_codes<kWidth>(v, j);
      store_codes(to + j, kWidth == 8 ? _mm256_and_si256(codes, nibbles) : codes);
      if constexpr (kWidth == 8)
        store_codes(to + upper + j, _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibbles));
    }
  }
};

}  // namespace stepless::kernels
