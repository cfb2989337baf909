// Eight lanes with fused multiply-add for attention.
#pragma once
#include <immintrin.h>

#include "kernels/cpu/any/attn_frame.hpp"

namespace stepless::kernels {
namespace {

struct Avx2 {
  static constexpr int L = 8, kDots = 8;
  using F = Floats<8>;
  template <int Q>
  static constexpr int width() {
    return 4 / Q;
  }

  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }

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

  template <DType type>
  static F decode(F codes, float scale, float bias) {
    return _mm256_fmadd_ps(codes, _mm256_set1_ps(scale), _mm256_set1_ps(bias));
  }

  /// In both 128-bit halves: the sums of four vectors' lanes there.
  static __m256 half_sums(const F* v) {
    const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(v[0], v[1]), _mm256_unpackhi_ps(v[0], v[1]));
    const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(v[2], v[3]), _mm256_unpackhi_ps(v[2], v[3]));
    return _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
  }

  static void sums(const F* acc, float* out) {
    const __m256 low = half_sums(acc), high = half_sums(acc + 4);
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20),
                                        _mm256_permute2f128_ps(low, high, 0x31)));
  }
};

}  // namespace
}  // namespace stepless::kernels
