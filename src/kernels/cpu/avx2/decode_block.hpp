// 64 packed codes of a weight row as eight vectors of float32, in the order in which a width gives
// them up with the fewest instructions: element_at(). Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx2/numbers.hpp"

namespace stepless::kernels {

/// Which of 64 elements lane `lane` of vector t is. Dense weights have bits of 0.
static constexpr int element_at(Mode mode, int bits, int t, int lane) {
  if (mode == Mode::mxfp4 || mode == Mode::nvfp4)
    return lane / 4 * 32 + t % 4 * 8 + lane % 4 * 2 + t / 4;
  if (bits == 0 || bits == 8) return 8 * t + lane;
  if (bits == 6) return t / 4 * 32 + 4 * lane + t % 4;
  if (bits == 5) return lane / 4 * 32 + t / 4 * 16 + lane % 4 * 4 + t % 4;
  return 8 * lane + t;
}

static inline __m256i load_pair(const uint8_t* low, const uint8_t* high) {
  return _mm256_setr_m128i(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low)),
                           _mm_loadu_si128(reinterpret_cast<const __m128i*>(high)));
}

/// Reads 8 * kBits bytes, no more. value(t) is vector t, a code or an element, not scaled yet.
template <Mode kMode, int kBits>
struct Block;

/// Lanes of 32 bits that begin with the code of vector 0: the others follow.
template <int kBits>
struct LaneCodes {
  static constexpr int kPer = kBits == 6 ? 4 : 8;
  __m256i v[8 / kPer];
  __attribute__((always_inline)) inline __m256 value(int t) const {
    const __m256i q = _mm256_srli_epi32(v[t / kPer], t % kPer * kBits);
    return _mm256_cvtepi32_ps(_mm256_and_si256(q, _mm256_set1_epi32((1 << kBits) - 1)));
  }
};

template <>
struct Block<Mode::affine, 1> : LaneCodes<1> {
  explicit inline Block(const uint8_t* at) {
    v[0] = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
  }
};

template <>
struct Block<Mode::affine, 2> : LaneCodes<2> {
  explicit inline Block(const uint8_t* at) {
    v[0] = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  }
};

/// Three bytes to every lane, from 24.
static inline __m256i threes(const uint8_t* at) {
  const __m256i pick = _mm256_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, 4, 5,
                                        6, -1, 7, 8, 9, -1, 10, 11, 12, -1, 13, 14, 15, -1);
  return _mm256_shuffle_epi8(load_pair(at, at + 8), pick);
}

template <>
struct Block<Mode::affine, 3> : LaneCodes<3> {
  explicit inline Block(const uint8_t* at) { v[0] = threes(at); }
};

template <>
struct Block<Mode::affine, 6> : LaneCodes<6> {
  explicit inline Block(const uint8_t* at) {
    v[0] = threes(at);
    v[1] = threes(at + 24);
  }
};

/// Bytes of even and of odd codes; vector t has byte t / 2 of the lanes.
template <>
struct Block<Mode::affine, 4> {
  __m256i even, odd;
  explicit inline Block(const uint8_t* at) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    even = _mm256_and_si256(v, _mm256_set1_epi8(15));
    odd = _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
  }
  __attribute__((always_inline)) inline __m256 value(int t) const {
    const __m256i pick =
        _mm256_add_epi32(_mm256_setr_epi32(-256, -252, -248, -244, -256, -252, -248, -244),
                         _mm256_set1_epi32(t / 2));
    return _mm256_cvtepi32_ps(_mm256_shuffle_epi8(t % 2 == 0 ? even : odd, pick));
  }
};

/// Ten bits to every 16, at the top: a pick of two bytes and a product in place of a shift.
template <>
struct Block<Mode::affine, 5> {
  __m256i v[2];
  explicit inline Block(const uint8_t* at) {
    const __m256i lift = _mm256_broadcastsi128_si256(_mm_setr_epi16(64, 16, 4, 1, 64, 16, 4, 1));
    const __m128i pick = _mm_setr_epi8(0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 6, 7, 7, 8, 8, 9);
    const __m256i later = _mm256_setr_m128i(pick, _mm_add_epi8(pick, _mm_set1_epi8(6)));
    v[0] = _mm256_mullo_epi16(
        _mm256_shuffle_epi8(load_pair(at, at + 20), _mm256_broadcastsi128_si256(pick)), lift);
    v[1] = _mm256_mullo_epi16(_mm256_shuffle_epi8(load_pair(at + 10, at + 24), later), lift);
  }
  __attribute__((always_inline)) inline __m256 value(int t) const {
    const __m256i q = _mm256_srli_epi32(v[t / 4], t % 4 * 5 + (t % 4 < 2 ? 6 : 12));
    return _mm256_cvtepi32_ps(_mm256_and_si256(q, _mm256_set1_epi32(31)));
  }
};

template <>
struct Block<Mode::affine, 8> {
  const uint8_t* at;
  explicit inline Block(const uint8_t* from) : at(from) {}
  __attribute__((always_inline)) inline __m256 value(int t) const {
    const __m128i v = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at + 8 * t));
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v));
  }
};

/// The upper 16 bits of an element are all it needs: two tables of bytes, then they are joined.
template <>
struct Block<Mode::mxfp4, 4> {
  __m256i v[4];
  explicit inline Block(const uint8_t* at) {
    const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    const __m256i low = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 0, -128, -64, 0, 64, -128, -64, 0, 0, -128, -64, 0, 64, -128, -64));
    const __m256i high = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 63, 63, 63, 64, 64, 64, 64, -128, -65, -65, -65, -64, -64, -64, -64));
#pragma GCC unroll 2
    for (int p = 0; p < 2; ++p) {
      const __m256i q =
          _mm256_and_si256(p == 0 ? packed : _mm256_srli_epi16(packed, 4), _mm256_set1_epi8(15));
      const __m256i lows = _mm256_shuffle_epi8(low, q), highs = _mm256_shuffle_epi8(high, q);
      v[2 * p] = _mm256_unpacklo_epi8(lows, highs);
      v[2 * p + 1] = _mm256_unpackhi_epi8(lows, highs);
    }
  }
  __attribute__((always_inline)) inline __m256 value(int t) const {
    const __m256i zero = _mm256_setzero_si256();
    return _mm256_castsi256_ps(t % 2 == 0 ? _mm256_unpacklo_epi16(zero, v[t / 2])
                                          : _mm256_unpackhi_epi16(zero, v[t / 2]));
  }
};

template <>
struct Block<Mode::nvfp4, 4> : Block<Mode::mxfp4, 4> {
  using Block<Mode::mxfp4, 4>::Block;
};

/// 2^-8 times the elements.
template <>
struct Block<Mode::mxfp8, 8> {
  __m256i v[4];
  explicit inline Block(const uint8_t* at) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      v[i] = e4m3_to_f16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16 * i)));
  }
  __attribute__((always_inline)) inline __m256 value(int t) const {
    return _mm256_cvtph_ps(t % 2 == 0 ? _mm256_castsi256_si128(v[t / 2])
                                      : _mm256_extracti128_si256(v[t / 2], 1));
  }
};

/// Scales, or biases, of 64 elements: vector t takes half_of(t) of them.
struct BlockScales {
  __m256 half[2];
};

template <Mode kMode, int kBits>
static constexpr int half_of(int t) {
  return kMode == Mode::nvfp4 ? t / 2 % 2 : t / 4;
}

template <Mode kMode, int kBits>
__attribute__((always_inline)) static inline BlockScales block_scales(const float* of, int64_t j,
                                                                      int64_t group_size) {
  if (group_size >= 64) {
    const __m256 one = _mm256_broadcast_ss(of + (group_size == 64 ? j : j / 2));
    return {{one, one}};
  }
  if constexpr (kMode == Mode::nvfp4) {
    const float* const at = of + 4 * j;
    return {{_mm256_blend_ps(_mm256_broadcast_ss(at), _mm256_broadcast_ss(at + 2), 0xF0),
             _mm256_blend_ps(_mm256_broadcast_ss(at + 1), _mm256_broadcast_ss(at + 3), 0xF0)}};
  }
  const __m256 first = _mm256_broadcast_ss(of + 2 * j),
               second = _mm256_broadcast_ss(of + 2 * j + 1);
  if constexpr (kBits == 6 || kBits == 8) return {{first, second}};
  const __m256 both = _mm256_blend_ps(first, second, 0xF0);
  return {{both, both}};
}

}  // namespace stepless::kernels
