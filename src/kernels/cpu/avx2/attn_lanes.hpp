// Eight lanes with fused multiply-add for attention.
#pragma once
#include <immintrin.h>

#include "kernels/cpu/any/attn_frame.hpp"

namespace stepless::kernels {
namespace {

struct Avx2 {
  static constexpr int L = 8, kDots = 8;
  static constexpr int kTileQueries = 4, kTileVectors = 2;  // eight sums, two keys, a query
  using F = Floats<8>;
  template <int Q>
  static constexpr int width() {
    return 4 / Q;
  }

  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }

  static F larger(F a, F b) { return _mm256_max_ps(a, b); }
  template <class Join>
  static float joined(F v, Join join) {
    const __m128 four = join(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = join(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(join(two, _mm_movehdup_ps(two)));
  }
  static float largest(F v) {
    return joined(v, [](__m128 a, __m128 b) { return _mm_max_ps(a, b); });
  }
  static float total(F v) {
    return joined(v, [](__m128 a, __m128 b) { return _mm_add_ps(a, b); });
  }

  /// e^x within 1 ulp for x <= 0, NaN kept, with half the instructions of exp_of(). 0 below -87.33,
  /// where subnormals begin: each would cost an assist of some hundred cycles, and all positions
  /// that a query does not see are there.
  static constexpr float kExpUnit = 1.0f;
  static F exp(F x) {
    exp_in_step<1>(&x);
    return x;
  }

  /// The same of N vectors: one after the other each waits for a chain of some 60 cycles, and the
  /// scheduler of a Zen 1 holds no second one.
  static constexpr int kExpsInStep = 4;
  template <int N>
  static void exp_in_step(F* x) {
    // Adding 1.5 * 2^23 rounds to the nearest integer; 127 more, and the low bits are an exponent.
    const __m256 magic = _mm256_set1_ps(12583039.0f);
    F small[N], shifted[N], n[N];
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) small[i] = _mm256_cmp_ps(x[i], _mm256_set1_ps(-87.33f), _CMP_LT_OQ);
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i)
      shifted[i] = _mm256_fmadd_ps(x[i], _mm256_set1_ps(1.44269504f), magic);
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) n[i] = _mm256_sub_ps(shifted[i], magic);
    F p[N];
    exp_of_rests<L, N>(x, n, p, fma);
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      const __m256i power = _mm256_slli_epi32(_mm256_castps_si256(shifted[i]), 23);
      x[i] = _mm256_andnot_ps(small[i], _mm256_mul_ps(p[i], _mm256_castsi256_ps(power)));
    }
  }

  static __m256i bits(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(p));
  }

  static F from_f16(const uint8_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i_u*>(p)));
  }

  template <DType type>
  static void load2(const uint8_t* p, F& a, F& b) {
    if constexpr (type == DType::f32) {
      a = _mm256_castsi256_ps(bits(p));
      b = _mm256_castsi256_ps(bits(p + 32));
    } else if constexpr (type == DType::f16) {
      a = from_f16(p);
      b = from_f16(p + 16);
    } else {
      const __m256i pairs = bits(p);
      a = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
      b = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-65536)));
    }
  }

  template <DType type>
  static void load2_part(const uint8_t* p, int64_t n, F& a, F& b) {
    alignas(32) uint8_t whole[64] = {};
    memcpy(whole, p, static_cast<size_t>(n * bytes_of(type)));
    load2<type>(whole, a, b);
  }

  static __m128i eight(const uint8_t* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i_u*>(p));
  }

  template <int bits, DType type>
  static void codes2(const uint8_t* p, F& a, F& b) {
    __m256i low, high;
    if constexpr (bits == 8 && type == DType::bf16) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i_u*>(p));
      const __m256i pairs = _mm256_cvtepu16_epi32(bytes);
      low = _mm256_and_si256(pairs, _mm256_set1_epi32(255));
      high = _mm256_srli_epi32(pairs, 8);
    } else if constexpr (bits == 8) {
      low = _mm256_cvtepu8_epi32(eight(p));
      high = _mm256_cvtepu8_epi32(eight(p + 8));
    } else if constexpr (type == DType::bf16) {
      const __m256i pairs = _mm256_cvtepu8_epi32(eight(p));
      low = _mm256_and_si256(pairs, _mm256_set1_epi32(15));
      high = _mm256_srli_epi32(pairs, 4);
    } else {
      const __m128i pairs = eight(p), nibble = _mm_set1_epi8(15);
      const __m128i codes = _mm_unpacklo_epi8(_mm_and_si128(pairs, nibble),
                                              _mm_and_si128(_mm_srli_epi16(pairs, 4), nibble));
      low = _mm256_cvtepu8_epi32(codes);
      high = _mm256_cvtepu8_epi32(_mm_srli_si128(codes, 8));
    }
    a = _mm256_cvtepi32_ps(low);
    b = _mm256_cvtepi32_ps(high);
  }

  template <int bits, DType type>
  static void decode2(const uint8_t* p, float scale, float bias, F& a, F& b) {
    const __m256 s = _mm256_set1_ps(scale), t = _mm256_set1_ps(bias);
    codes2<bits, type>(p, a, b);
    a = _mm256_fmadd_ps(a, s, t);
    b = _mm256_fmadd_ps(b, s, t);
  }

  /// In both 128-bit halves: the sums of four vectors' lanes there.
  static __m256 half_sums(const F* v) {
    const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(v[0], v[1]), _mm256_unpackhi_ps(v[0], v[1]));
    const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(v[2], v[3]), _mm256_unpackhi_ps(v[2], v[3]));
    return _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
  }

  /// sums() adds lanes 0 and 2 of a half, 1 and 3, both, then halves.
  static constexpr int lane_at(int place) {
    return (place & 4) | (place & 1) << 1 | (place >> 1 & 1);
  }

  static void turn(F* v) {
    __m256 fours[8];  // [4 i + j]: in half c element 4 c + j of vectors 4 i .. 4 i + 3
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
      const __m256 a = _mm256_unpacklo_ps(v[i], v[i + 1]), b = _mm256_unpackhi_ps(v[i], v[i + 1]);
      const __m256 c = _mm256_unpacklo_ps(v[i + 2], v[i + 3]);
      const __m256 d = _mm256_unpackhi_ps(v[i + 2], v[i + 3]);
      fours[i] = _mm256_shuffle_ps(a, c, 0x44);
      fours[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
      fours[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
      fours[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      v[j] = _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x20);
      v[4 + j] = _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x31);
    }
  }

  static void sums(const F* acc, float* out) {
    const __m256 low = half_sums(acc), high = half_sums(acc + 4);
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20),
                                        _mm256_permute2f128_ps(low, high, 0x31)));
  }
};

}  // namespace
}  // namespace stepless::kernels
