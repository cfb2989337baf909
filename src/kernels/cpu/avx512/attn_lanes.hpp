// Sixteen lanes with fused multiply-add for attention; masked loads at the end of a head.
#pragma once
#include <immintrin.h>

#include "kernels/cpu/any/attn_frame.hpp"

namespace stepless::kernels {
namespace {

struct Avx512 {
  static constexpr int L = 16, kDots = 16;
  static constexpr int kTileQueries = 4, kTileVectors = 4;  // sixteen sums, four keys, a query
  using F = Floats<16>;
  template <int Q>
  static constexpr int width() {
    return Q == 4 ? 2 : 4;  // up to sixteen accumulators of thirty-two registers
  }

  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }

  static F larger(F a, F b) { return _mm512_max_ps(a, b); }
  static float largest(F v) { return _mm512_reduce_max_ps(v); }
  static float total(F v) { return _mm512_reduce_add_ps(v); }

  /// largest() or total() of four vectors, in the same order of lanes.
  template <class Join>
  static void join_four(const F* v, float* to, Join join) {
    const __m512 a = join(_mm512_shuffle_f32x4(v[0], v[1], 0x44),  // of a vector two quarters
                          _mm512_shuffle_f32x4(v[0], v[1], 0xee));
    const __m512 b =
        join(_mm512_shuffle_f32x4(v[2], v[3], 0x44), _mm512_shuffle_f32x4(v[2], v[3], 0xee));
    const __m512 four = join(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    const __m512 two = join(four, _mm512_permute_ps(four, 0x4e));
    const __m512 one = join(two, _mm512_permute_ps(two, 0xb1));
    const __m512i firsts = _mm512_castsi128_si512(_mm_setr_epi32(0, 4, 8, 12));
    _mm_storeu_ps(to, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one)));
  }
  static F load_four(const float* p) { return _mm512_zextps128_ps512(_mm_loadu_ps(p)); }
  static void largest_of_four(const F* v, float* to) {
    join_four(v, to, [](__m512 a, __m512 b) { return _mm512_max_ps(a, b); });
  }
  static void total_of_four(const F* v, float* to) {
    join_four(v, to, [](__m512 a, __m512 b) { return _mm512_add_ps(a, b); });
  }

  /// 2^x within 1.4 ulp for x <= 0, NaN kept: a fit of its own over [0, 1), which leaves the whole
  /// part to VSCALEFPS. 0 below -126, where subnormals begin: each would cost an assist of some
  /// hundred cycles, and all positions that a query does not see are there.
  static constexpr float kExpUnit = 1.44269504f;
  static F exp(F x) {
    const __mmask16 large = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
    const F r = _mm512_reduce_ps(x, 9);  // x - floor(x)
    F p = fma(r, splat<L>(2.161291496e-4f), splat<L>(1.246784645e-3f));
    p = fma(p, r, splat<L>(9.675451568e-3f));
    p = fma(p, r, splat<L>(5.548528062e-2f));
    p = fma(p, r, splat<L>(0.2402293056f));
    p = fma(p, r, splat<L>(0.6931470444f));
    p = fma(p, r, splat<L>(1.0f));
    return _mm512_maskz_scalef_ps(large, p, x);
  }

  static void split(__m512i pairs, F& a, F& b) {
    a = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    b = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(-65536)));
  }

  static F from_f16(__m256i codes) { return _mm512_cvtph_ps(codes); }

  template <DType type>
  static void load2(const uint8_t* p, F& a, F& b) {
    if constexpr (type == DType::f32) {
      a = _mm512_loadu_ps(p);
      b = _mm512_loadu_ps(p + 64);
    } else if constexpr (type == DType::f16) {
      a = from_f16(_mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(p)));
      b = from_f16(_mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(p + 32)));
    } else {
      split(_mm512_loadu_si512(p), a, b);
    }
  }

  template <DType type>
  static void load2_part(const uint8_t* p, int64_t n, F& a, F& b) {
    const __mmask32 mask = (1u << n) - 1;  // n < 32
    if constexpr (type == DType::f32) {
      a = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), p);
      b = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), p + 64);
    } else if constexpr (type == DType::f16) {
      const __m512i codes = _mm512_maskz_loadu_epi16(mask, p);
      a = from_f16(_mm512_castsi512_si256(codes));
      b = from_f16(_mm512_extracti64x4_epi64(codes, 1));
    } else {
      split(_mm512_maskz_loadu_epi16(mask, p), a, b);
    }
  }

  static __m128i sixteen(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i_u*>(p));
  }

  /// Two elements of a byte lie in one register and the next for bf16, side by side else: there
  /// every byte goes to two places first, and the second is shifted.
  template <DType type>
  static void nibbles2(const uint8_t* p, __m512i& a, __m512i& b) {
    if constexpr (type == DType::bf16) {
      a = _mm512_cvtepu8_epi32(sixteen(p));
      b = _mm512_srli_epi32(a, 4);
    } else {
      const __m512i twice =
          _mm512_add_epi32(_mm512_setr4_epi32(0, 0, 1, 1),
                           _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6));
      const __m512i shift = _mm512_setr4_epi32(0, 4, 0, 4);
      const __m512i bytes = _mm512_broadcast_i32x4(sixteen(p));
      const __m512i later = _mm512_add_epi32(twice, _mm512_set1_epi32(8));
      a = _mm512_srlv_epi32(_mm512_shuffle_epi8(bytes, twice), shift);
      b = _mm512_srlv_epi32(_mm512_shuffle_epi8(bytes, later), shift);
    }
  }

  template <DType type>
  static void bytes2(const uint8_t* p, __m512i& a, __m512i& b) {
    if constexpr (type == DType::bf16) {
      const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(p));
      const __m512i pairs = _mm512_cvtepu16_epi32(bytes);
      a = _mm512_and_si512(pairs, _mm512_set1_epi32(255));
      b = _mm512_srli_epi32(pairs, 8);
    } else {
      a = _mm512_cvtepu8_epi32(sixteen(p));
      b = _mm512_cvtepu8_epi32(sixteen(p + 16));
    }
  }

  /// The sixteen values of a 4-bit code are made first, then looked up by the low four bits.
  template <int bits, DType type>
  static void decode2(const uint8_t* p, float scale, float bias, F& a, F& b) {
    const __m512 s = _mm512_set1_ps(scale), t = _mm512_set1_ps(bias);
    __m512i low, high;
    if constexpr (bits == 4) {
      nibbles2<type>(p, low, high);
      const __m512 codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      const __m512 values = _mm512_fmadd_ps(codes, s, t);
      a = _mm512_permutexvar_ps(low, values);
      b = _mm512_permutexvar_ps(high, values);
    } else {
      bytes2<type>(p, low, high);
      a = _mm512_fmadd_ps(_mm512_cvtepi32_ps(low), s, t);
      b = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), s, t);
    }
  }

  /// In all four 128-bit quarters: the sums of four vectors' lanes there.
  static __m512 quarter_sums(const F* v) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    return _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  }

  /// Adds neighbouring quarters of a, then of b.
  static __m512 fold(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  }

  /// sums() adds lanes 0 and 2 of a quarter, 1 and 3, both, then quarters.
  static constexpr int lane_at(int place) {
    return (place & 12) | (place & 1) << 1 | (place >> 1 & 1);
  }

  static void turn(F* v) {
    __m512 pairs[16], fours[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
      pairs[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
      pairs[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
    // fours[4 i + j]: in quarter c element 4 c + j of vectors 4 i .. 4 i + 3
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
      fours[i] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
      fours[i + 1] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
      fours[i + 2] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
      fours[i + 3] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m512 low01 = _mm512_shuffle_f32x4(fours[j], fours[4 + j], 0x88);
      const __m512 high01 = _mm512_shuffle_f32x4(fours[j], fours[4 + j], 0xdd);
      const __m512 low23 = _mm512_shuffle_f32x4(fours[8 + j], fours[12 + j], 0x88);
      const __m512 high23 = _mm512_shuffle_f32x4(fours[8 + j], fours[12 + j], 0xdd);
      v[j] = _mm512_shuffle_f32x4(low01, low23, 0x88);
      v[8 + j] = _mm512_shuffle_f32x4(low01, low23, 0xdd);
      v[4 + j] = _mm512_shuffle_f32x4(high01, high23, 0x88);
      v[12 + j] = _mm512_shuffle_f32x4(high01, high23, 0xdd);
    }
  }

  static void sums(const F* acc, float* out) {
    const __m512 low = fold(quarter_sums(acc), quarter_sums(acc + 4));
    const __m512 high = fold(quarter_sums(acc + 8), quarter_sums(acc + 12));
    _mm512_storeu_ps(out, fold(low, high));
  }
};

}  // namespace
}  // namespace stepless::kernels
