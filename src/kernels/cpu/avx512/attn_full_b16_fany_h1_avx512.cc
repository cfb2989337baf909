// Attention on sixteen lanes with fused multiply-add; masked loads at the end of a head.
#include <immintrin.h>

#include "kernels/cpu/any/attn_frame.hpp"

namespace stepless::kernels {
namespace {

struct Avx512 {
  static constexpr int L = 16, kDots = 16;
  using F = Floats<16>;
  template <int Q>
  static constexpr int width() {
    return Q == 4 ? 2 : 4;  // up to sixteen accumulators of thirty-two registers
  }

  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }

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

  static void sums(const F* acc, float* out) {
    const __m512 low = fold(quarter_sums(acc), quarter_sums(acc + 4));
    const __m512 high = fold(quarter_sums(acc + 8), quarter_sums(acc + 12));
    _mm512_storeu_ps(out, fold(low, high));
  }
};

}  // namespace

STEPLESS_KERNEL(attn_full_b16_fany_h1_avx512) = {nullptr, run_attention<Avx512>, nullptr};

}  // namespace stepless::kernels
