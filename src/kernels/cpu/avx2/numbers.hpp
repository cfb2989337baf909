// Eight numbers at a time between memory of any float type and float32. Static only: nothing here
// is exported.
#pragma once
#include <immintrin.h>
#include <string.h>

#include "kernels/args.hpp"

namespace stepless::kernels {

/// The next 16 bytes, of which only `count` are read when fewer; the rest are zero.
static inline __m128i load_bytes(const uint8_t* at, int64_t count) {
  if (count >= 16) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  alignas(16) uint8_t copy[16] = {};
  if (count > 0) memcpy(copy, at, static_cast<size_t>(count));
  return _mm_load_si128(reinterpret_cast<const __m128i*>(copy));
}

static inline __m256 half_to_f32(__m128i half, DType type) {
  if (type == DType::f16) return _mm256_cvtph_ps(half);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/// Elements at .. at + 7 of an array of any alignment; from the count-th on they are zero and not
/// read.
static inline __m256 load_f32(const void* base, DType type, int64_t at, int64_t count) {
  const uint8_t* bytes = static_cast<const uint8_t*>(base);
  if (type != DType::f32) return half_to_f32(load_bytes(bytes + 2 * at, 2 * count), type);
  const float* from = reinterpret_cast<const float*>(bytes + 4 * at);
  if (count >= 8) return _mm256_loadu_ps(from);
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const int left = static_cast<int>(count > 0 ? count : 0);
  return _mm256_maskload_ps(from, _mm256_cmpgt_epi32(_mm256_set1_epi32(left), lanes));
}

/// Rounds to nearest even; a NaN keeps its sign and becomes quiet.
static inline __m128i f32_to_bf16(__m128 value) {
  const __m128i bits = _mm_castps_si128(value);
  const __m128i odd = _mm_and_si128(_mm_srli_epi32(bits, 16), _mm_set1_epi32(1));
  const __m128i rounded = _mm_add_epi32(bits, _mm_add_epi32(odd, _mm_set1_epi32(0x7FFF)));
  const __m128i quiet = _mm_or_si128(bits, _mm_set1_epi32(0x400000));
  const __m128i nan = _mm_castps_si128(_mm_cmpunord_ps(value, value));
  const __m128i both = _mm_srli_epi32(_mm_blendv_epi8(rounded, quiet, nan), 16);
  return _mm_packus_epi32(both, both);
}

/// The first `count` (at most 4) of four neighbouring results.
static inline void store_f32(void* base, DType type, int64_t at, int64_t count, __m128 value) {
  uint8_t* bytes = static_cast<uint8_t*>(base);
  if (type == DType::f32) {
    if (count == 4) return _mm_storeu_ps(reinterpret_cast<float*>(bytes + 4 * at), value);
    memcpy(bytes + 4 * at, &value, static_cast<size_t>(4 * count));
    return;
  }
  const __m128i half =
      type == DType::f16 ? _mm_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT) : f32_to_bf16(value);
  // A copy of a length known only here is a call, which costs more than the sums.
  if (count == 4) return _mm_storel_epi64(reinterpret_cast<__m128i*>(bytes + 2 * at), half);
  memcpy(bytes + 2 * at, &half, static_cast<size_t>(2 * count));
}

/// Sixteen bytes of E4M3 as float16, where the exponent is 8 too small: exact, subnormals included.
/// The sign fills the bits above; the one below the sign belongs to the exponent and is zero.
static inline __m256i e4m3_to_f16(__m128i bytes) {
  const __m256i high = _mm256_slli_epi16(_mm256_cvtepi8_epi16(bytes), 7);
  return _mm256_and_si256(high, _mm256_set1_epi16(static_cast<short>(0xBF80)));
}

/// The lower eight bytes as E4M3.
static inline __m256 e4m3_to_f32(__m128i bytes) {
  const __m128i half = _mm256_castsi256_si128(e4m3_to_f16(bytes));
  return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256));
}

/// Eight bytes as E8M0: byte 0 is the subnormal 2^-127.
static inline __m256 e8m0_to_f32(__m128i bytes) {
  const __m256i b = _mm256_cvtepu8_epi32(bytes);
  const __m256i zero = _mm256_cmpeq_epi32(b, _mm256_setzero_si256());
  return _mm256_castsi256_ps(_mm256_or_si256(_mm256_slli_epi32(b, 23),
                                             _mm256_and_si256(zero, _mm256_set1_epi32(0x400000))));
}

static inline uint32_t largest_lane(__m256i v) {
  __m128i most = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0x4E));
  most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0xB1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(most));
}

static inline int32_t sum_lanes(__m256i v) {
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1)));
}

/// The sums of four vectors: neighbours first, then the halves. The same tree for every lane.
static inline __m128 sum_each(const __m256* v) {
  const __m256 quarters = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
  return _mm_add_ps(_mm256_castps256_ps128(quarters), _mm256_extractf128_ps(quarters, 1));
}

}  // namespace stepless::kernels
