// 32 codes of each of a strip's eight rows as bytes, four neighbours in every lane: what sums take
// from registers or from panels. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/any/picks.hpp"
#include "kernels/cpu/avxvnni/planes.hpp"

namespace stepless::kernels {

/// kBytes of every row from byte `at` on: half h of a[j] gets those of row 4 h + j.
template <int kBytes>
__attribute__((always_inline)) static inline void load_rows(const Strip& strip, int64_t at,
                                                            __m256i* a) {
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j)
    a[j] = _mm256_inserti128_si256(_mm256_castsi128_si256(load_part<kBytes>(strip.codes[j] + at)),
                                   load_part<kBytes>(strip.codes[4 + j] + at), 1);
}

/// Lane r of v[d] gets dword d of row r.
__attribute__((always_inline)) static inline void turn(const __m256i* a, __m256i* v) {
  const __m256i low01 = _mm256_unpacklo_epi32(a[0], a[1]),
                low23 = _mm256_unpacklo_epi32(a[2], a[3]);
  const __m256i high01 = _mm256_unpackhi_epi32(a[0], a[1]),
                high23 = _mm256_unpackhi_epi32(a[2], a[3]);
  v[0] = _mm256_unpacklo_epi64(low01, low23);
  v[1] = _mm256_unpackhi_epi64(low01, low23);
  v[2] = _mm256_unpacklo_epi64(high01, high23);
  v[3] = _mm256_unpackhi_epi64(high01, high23);
}

/// Four bits: vector 2 t + h holds codes 8 t + h + {0, 2, 4, 6}, as prepared x.
struct Halves {
  static constexpr int kBits = 4;
  static constexpr bool kAffine = true;
  __attribute__((always_inline)) static inline void load(const Strip& strip, int64_t at,
                                                         __m256i* v) {
    __m256i a[4];
    load_rows<16>(strip, at, a);
    turn(a, v);
  }
  __attribute__((always_inline)) static inline __m256i four(const __m256i* v, int j) {
    const __m256i low = j % 2 == 0 ? v[j / 2] : _mm256_srli_epi16(v[j / 2], 4);
    return _mm256_and_si256(low, _mm256_set1_epi8(15));
  }
};

/// E2M1 in that order: twice an element, and kE2m1Offset.
struct TwiceE2m1 {
  static constexpr int kBits = 4;
  static constexpr bool kAffine = false;
  __attribute__((always_inline)) static inline void load(const Strip& strip, int64_t at,
                                                         __m256i* v) {
    Halves::load(strip, at, v);
  }
  __attribute__((always_inline)) static inline __m256i four(const __m256i* v, int j) {
    const __m256i table = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    return _mm256_shuffle_epi8(table, Halves::four(v, j));
  }
};

template <int kBits, int kFirst, int kFrom>
__attribute__((always_inline)) static inline void turn_codes(const __m256i* a, __m256i* v) {
  static constexpr Picks<kBits, kFirst, kFrom> kPicks;
  const __m256i picks =
      _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(kPicks.of)));
  __m256i picked[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) picked[j] = _mm256_shuffle_epi8(a[j], picks);
  turn(picked, v);
}

/// Four codes next to one another, from bit kFrom of a lane, as bytes: two and two part, then one
/// and one.
template <int kBits, int kFrom>
__attribute__((always_inline)) static inline __m256i part_codes(__m256i v) {
  if constexpr (kFrom > 0) v = _mm256_srli_epi32(v, kFrom);
  const __m256i pairs = _mm256_blend_epi16(v, _mm256_slli_epi32(v, 16 - 2 * kBits), 0xAA);
  constexpr short kMask = (1 << kBits) - 1;
  return _mm256_or_si256(_mm256_and_si256(pairs, _mm256_set1_epi16(kMask)),
                         _mm256_and_si256(_mm256_slli_epi16(pairs, 8 - kBits),
                                          _mm256_set1_epi16(static_cast<short>(kMask << 8))));
}

/// Any width, in the order of the checkpoint. None of what lies behind 4 * kBits bytes is read.
template <int bits>
struct InOrder {
  static constexpr int kBits = bits;
  static constexpr bool kAffine = true;
  __attribute__((always_inline)) static inline void load(const Strip& strip, int64_t at,
                                                         __m256i* v) {
    constexpr int kBytes = 4 * kBits, kSecond = kBytes > 16 ? kBytes - 16 : 0;  // where it begins
    __m256i a[4];
    load_rows<(kBytes < 16 ? kBytes : 16)>(strip, at, a);
    turn_codes<kBits, 0, 0>(a, v);
    if constexpr (kSecond > 0) load_rows<16>(strip, at + kSecond, a);
    turn_codes<kBits, 4, kSecond>(a, v + 4);
  }
  __attribute__((always_inline)) static inline __m256i four(const __m256i* v, int j) {
    return j % 2 == 0 ? part_codes<kBits, 0>(v[j]) : part_codes<kBits, 4 * kBits % 8>(v[j]);
  }
};

template <>
struct InOrder<8> {
  static constexpr int kBits = 8;
  static constexpr bool kAffine = true;
  __attribute__((always_inline)) static inline void load(const Strip& strip, int64_t at,
                                                         __m256i* v) {
    __m256i a[4];
    load_rows<16>(strip, at, a);
    turn(a, v);
    load_rows<16>(strip, at + 16, a);
    turn(a, v + 4);
  }
  __attribute__((always_inline)) static inline __m256i four(const __m256i* v, int j) {
    return v[j];
  }
};

/// Of `count` groups from g on, of every row; biases where the mode has them.
template <class Codes>
static inline void read_groups(const MatmulArgs& args, const Strip& strip, int64_t g, int64_t count,
                               float (*scales)[kStrip], float (*biases)[kStrip]) {
  if constexpr (Codes::kAffine) {
    read_scales(args, args.scales, strip, g, count, scales);
    read_scales(args, args.biases, strip, g, count, biases);
    return;
  }
  const int64_t groups = args.k / args.group_size;
  for (int64_t at = 0; at < count; at += 8) {
    __m256 v[8], out[8];
    for (int64_t r = 0; r < kStrip; ++r)
      v[r] = e8m0_to_f32(
          load_bytes(args.scales + strip.row[r] * groups + g + at, least(count - at, 8)));
    transpose(v, out);
    for (int64_t j = 0; j < least(count - at, 8); ++j) _mm256_store_ps(scales[at + j], out[j]);
  }
}

/// What was summed of twice the elements. Not sooner: the least scale of a group times that of x
/// would be less than float32 can hold.
template <class Codes>
static inline __m256 in_elements(__m256 sums) {
  return Codes::kAffine ? sums : _mm256_mul_ps(sums, _mm256_set1_ps(0.5f));
}

}  // namespace stepless::kernels
