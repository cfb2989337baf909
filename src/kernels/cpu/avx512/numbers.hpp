// Sixteen numbers at a time between memory of any float type and float32. Static only: nothing here
// is exported.
#pragma once
#include <immintrin.h>

#include "kernels/args.hpp"

namespace stepless::kernels {

/// The lowest `count` bits, all of them from 16 up.
static inline __mmask16 first16(int64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xFFFF : (1 << count) - 1);
}

static inline __m512 bf16_to_f32(__m256i bits) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

/// Rounds to nearest even; a NaN keeps its sign and becomes quiet.
static inline __m256i f32_to_bf16(__m512 value) {
  const __m512i bits = _mm512_castps_si512(value);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_blend_epi32(nan, rounded, quiet), 16));
}

/// Elements at .. at + 15 of an array of any alignment; those outside the mask are zero and their
/// bytes are not read.
static inline __m512 load_f32(const void* base, DType type, int64_t at, __mmask16 mask) {
  const uint8_t* bytes = static_cast<const uint8_t*>(base);
  if (type == DType::f32) return _mm512_maskz_loadu_ps(mask, bytes + 4 * at);
  const __m256i half = _mm256_maskz_loadu_epi16(mask, bytes + 2 * at);
  return type == DType::f16 ? _mm512_cvtph_ps(half) : bf16_to_f32(half);
}

/// All 16, without a mask.
template <DType kType>
static inline __m512 load_whole(const uint8_t* at) {
  if constexpr (kType == DType::f32) return _mm512_loadu_ps(at);
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  return kType == DType::f16 ? _mm512_cvtph_ps(half) : bf16_to_f32(half);
}

static inline void store_f32(void* base, DType type, int64_t at, __mmask16 mask, __m512 value) {
  uint8_t* bytes = static_cast<uint8_t*>(base);
  if (type == DType::f32) {
    _mm512_mask_storeu_ps(bytes + 4 * at, mask, value);
    return;
  }
  const __m256i half = type == DType::f16
                           ? _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
                           : f32_to_bf16(value);
  _mm256_mask_storeu_epi16(bytes + 2 * at, mask, half);
}

/// Row i of x up to k, a multiple of 64 or rounded up to one, in sixteens `apart` floats from each
/// other. kNibbles: in the order that decode.hpp has 4-bit codes in.
template <bool kNibbles>
static inline void put_row(const MatmulArgs& args, int64_t i, int64_t k, float* to, int64_t apart) {
  const __m512i order =
      _mm512_setr_epi32(0, 8, 16, 24, 32, 40, 48, 56, 1, 9, 17, 25, 33, 41, 49, 57);
  for (int64_t from = 0; from < k; from += 64) {
    alignas(64) float natural[64];
    for (int64_t t = 0; t < 64; t += 16) {
      const int64_t left = args.k - from - t;
      _mm512_store_ps(natural + t, load_f32(args.x, args.x_type, i * args.x_stride + from + t,
                                            first16(left > 0 ? left : 0)));
    }
    for (int t = 0; t < 4; ++t, to += apart)
      _mm512_store_ps(to, kNibbles ? _mm512_i32gather_ps(order, natural + 2 * t, 4)
                                   : _mm512_load_ps(natural + 16 * t));
  }
}

/// The sums of eight vectors, in lanes 0 to 7. The tree is the same for every lane, so the order is
/// fixed.
static inline __m256 sum_each(const __m512* v) {
  __m256 half[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r)
    half[r] = _mm256_add_ps(_mm512_castps512_ps256(v[r]), _mm512_extractf32x8_ps(v[r], 1));
  const __m256 low =
      _mm256_hadd_ps(_mm256_hadd_ps(half[0], half[1]), _mm256_hadd_ps(half[2], half[3]));
  const __m256 high =
      _mm256_hadd_ps(_mm256_hadd_ps(half[4], half[5]), _mm256_hadd_ps(half[6], half[7]));
  return _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20),
                       _mm256_permute2f128_ps(low, high, 0x31));
}

}  // namespace stepless::kernels
