// Scales and biases of a chunk of packed pages, for attn_words.hpp.
#pragma once
#include <immintrin.h>

#include "kernels/cpu/any/attn_few.hpp"
#include "kernels/cpu/any/byte_scale.hpp"

namespace stepless::kernels {
namespace {

constexpr int64_t kMostGroups = kMaxHeadDim / kLeastGroup;

inline __m128i low_half(__m256i v) { return _mm256_castsi256_si128(v); }
inline __m128i high_half(__m256i v) { return _mm256_extracti128_si256(v, 1); }

/// sum += codes * x. As asm, or gcc 12 adds several products to each other before the sum, and
/// takes more registers than there are.
__attribute__((always_inline)) inline void add_products(__m256i codes, __m256i x, __m256i& sum) {
  __m256i products;
  asm("vpmaddwd %[x], %[codes], %[products]\n"
      "vpaddd %[products], %[sum], %[sum]\n"
      : [sum] "+x"(sum), [products] "=&x"(products)
      : [codes] "x"(codes), [x] "x"(x));
}

/// The same, `x` in memory.
__attribute__((always_inline)) inline void add_products_at(__m256i codes, const int16_t* x,
                                                           __m256i& sum) {
  __m256i products;
  asm("vpmaddwd %[x], %[codes], %[products]\n"
      "vpaddd %[products], %[sum], %[sum]\n"
      : [sum] "+x"(sum), [products] "=&x"(products)
      : [codes] "x"(codes), [x] "m"(*reinterpret_cast<const __m256i*>(x)));
}

/// The same where a loop adds once to each sum: there the asm costs moves (19.5 cycles instead of
/// 16.4 for eight sums; Zen 1).
__attribute__((always_inline)) inline void add_in_loop(__m256i codes, __m256i x, __m256i& sum) {
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(codes, x));
}

/// The bits of each lane's magnitude.
inline __m256i magnitudes(__m256 v) {
  return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(INT32_MAX));
}

/// Of bits of magnitudes: those of the largest.
inline uint32_t largest_bits(__m256i lanes) {
  const __m128i four = _mm_max_epu32(low_half(lanes), high_half(lanes));
  const __m128i two = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_max_epu32(two, _mm_shuffle_epi32(two, 0xb1))));
}

/// (groups, kChunk): what vectors of positions meet.
template <DType type>
struct GroupRows {
  alignas(32) float scales[kMostGroups * kChunk], biases[kMostGroups * kChunk];

  static __m256 low_words(__m256i pairs) {
    if constexpr (type == DType::bf16) return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
    const __m256i low = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff));
    return _mm256_cvtph_ps(_mm_packus_epi32(low_half(low), high_half(low)));
  }
  static __m256 high_words(__m256i pairs) {
    if constexpr (type == DType::bf16)
      return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-65536)));
    const __m256i high = _mm256_srli_epi32(pairs, 16);
    return _mm256_cvtph_ps(_mm_packus_epi32(low_half(high), high_half(high)));
  }

  /// Two groups of eight positions from their pairs.
  static void store_pair(__m256i pairs, float* to) {
    _mm256_store_ps(to, low_words(pairs));
    _mm256_store_ps(to + kChunk, high_words(pairs));
  }

  /// Turns (positions, groups) to (groups, kChunk).
  static void turn(const uint8_t* from, int64_t positions, int64_t groups, float* to) {
    if (groups != 2 && groups != 4) {
      float plain[kChunk * kMostGroups];
      widen(from, type, positions * groups, groups == 1 ? to : plain);
      for (int64_t g = 0; groups > 1 && g < groups; ++g)
        for (int64_t j = 0; j < positions; ++j) to[g * kChunk + j] = plain[j * groups + g];
      return;
    }
    alignas(32) uint8_t whole[kChunk * 4 * 2];
    if (positions < kChunk) {
      __builtin_memcpy(whole, from, static_cast<size_t>(positions * groups * 2));
      from = whole;
    }
    const auto* at = reinterpret_cast<const __m256i_u*>(from);
    for (int64_t j = 0; j < positions; j += 8, to += 8) {
      const __m256i a = _mm256_loadu_si256(at++);
      if (groups == 2) {
        store_pair(a, to);
        continue;
      }
      const __m256 x = _mm256_castsi256_ps(a), y = _mm256_castsi256_ps(_mm256_loadu_si256(at++));
      const auto pairs = [](__m256 v) {
        return _mm256_permute4x64_epi64(_mm256_castps_si256(v), 0xd8);
      };
      store_pair(pairs(_mm256_shuffle_ps(x, y, 0x88)), to);
      store_pair(pairs(_mm256_shuffle_ps(x, y, 0xdd)), to + 2 * kChunk);
    }
  }

  /// Those of the first `positions` of a chunk.
  void read(const Rows& rows, int64_t positions) {
    turn(rows.here.scales, positions, rows.dim / rows.group, scales);
    turn(rows.here.biases, positions, rows.dim / rows.group, biases);
  }
};

/// Calls visit<Q>(first query): two queries at a time, then one.
template <class Visit>
void by_twos(const Queries& all, Visit visit) {
  int q = 0;
  for (; q + 2 <= all.count; q += 2) visit.template operator()<2>(q);
  if (q < all.count) visit.template operator()<1>(q);
}

}  // namespace
}  // namespace stepless::kernels
