// Scores of queries with packed keys by VPMADDWD: attn_words.hpp.
#pragma once
#include "kernels/cpu/avx2/attn_groups.hpp"

namespace stepless::kernels {
namespace {

/// Queries as integers, for every 16 bytes of codes: eight elements of each place in a word, which
/// holds two codes of 8 bits or four of 4. Twice, for both halves of a vector.
struct QueryWords {
  alignas(32) int16_t words[2 * kPool];
  float scales[kMostQueries * kMostGroups];  // of a group: from integers
  float sums[kMostQueries * kMostGroups];    // of its elements, as rounded
};

template <class T, DType type>
struct KeyWords {
  QueryWords queries;
  GroupRows<type> groups;

  // ---- queries ----

  /// Even and odd words of sixteen.
  static void split_words(__m128i& a, __m128i& b) {
    const __m128i apart = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    const __m128i x = _mm_shuffle_epi8(a, apart), y = _mm_shuffle_epi8(b, apart);
    a = _mm_unpacklo_epi64(x, y), b = _mm_unpackhi_epi64(x, y);
  }

  /// Words of 32 elements from those of their slots.
  template <int bits>
  static void store_words(__m128i* v, int16_t* to) {
    if constexpr (type != DType::bf16) split_words(v[0], v[1]), split_words(v[2], v[3]);
    if constexpr (bits == 4) split_words(v[0], v[2]), split_words(v[1], v[3]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      _mm256_store_si256(reinterpret_cast<__m256i*>(to + 16 * i),
                         _mm256_broadcastsi128_si256(v[i]));
  }

  template <int bits>
  void take_groups(int i, int64_t stride, const float* slots, int64_t dim, int64_t group) {
    int16_t* to = queries.words + 2 * stride * i;
    for (int64_t g = 0; g < dim / group; ++g) {
      __m256i most = _mm256_setzero_si256(), sum = most;
      for (int64_t j = 0; j < group; j += 8)
        most = _mm256_max_epu32(most, magnitudes(_mm256_loadu_ps(slots + j)));
      const GroupScale scale = word_scale(largest_bits(most));
      const __m256 factor = _mm256_set1_ps(scale.to_integers);
      for (int64_t j = 0; j < group; j += 32, slots += 32, to += 64) {
        __m128i words[4];
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
          const __m256 x = _mm256_mul_ps(_mm256_loadu_ps(slots + 8 * v), factor);
          const __m256i n = _mm256_cvtps_epi32(x);
          sum = _mm256_add_epi32(sum, n);
          words[v] = _mm_packs_epi32(low_half(n), high_half(n));
        }
        store_words<bits>(words, to);
      }
      queries.scales[i * kMostGroups + g] = scale.from_integers;
      // Sums of 128 words are exact in float32.
      queries.sums[i * kMostGroups + g] = T::total(_mm256_cvtepi32_ps(sum)) * scale.from_integers;
    }
  }

  /// Makes words of query i, whose slots are float32.
  void take(const KvLayer& cache, Queries& all, int i) {
    const int64_t dim = cache.k_dim, group = cache.packed.group_size;
    if (cache.packed.bits == 4) return take_groups<4>(i, all.stride, all.q(i), dim, group);
    take_groups<8>(i, all.stride, all.q(i), dim, group);
  }

  // ---- scores ----

  static __m256i two_rows(const uint8_t* a, const uint8_t* b) {
    const auto load = [](const uint8_t* p) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i_u*>(p));
    };
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load(a)), load(b), 1);
  }

  /// The n-th codes of words.
  template <int bits, int n>
  static __m256i codes_of(__m256i words) {
    const __m256i codes = n == 0 ? words : _mm256_srli_epi16(words, bits * n);
    if constexpr (n + 1 == 16 / bits) return codes;
    return _mm256_and_si256(codes, _mm256_set1_epi16((1 << bits) - 1));
  }

  /// Adds the products of the n-th codes of four vectors' words with Q queries to (Q, 4).
  template <int bits, int Q, int n>
  __attribute__((always_inline)) static void multiply(const __m256i* v, const int16_t* q,
                                                      int64_t stride, __m256i* sums) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m256i codes = codes_of<bits, n>(v[i]);
#pragma GCC unroll 2
      for (int j = 0; j < Q; ++j) add_products_at(codes, q + j * stride + 16 * n, sums[4 * j + i]);
    }
    if constexpr (n + 1 < 16 / bits) multiply<bits, Q, n + 1>(v, q, stride, sums);
  }

  /// The sums of halves of four vectors: lane 4 h + i is that of half h of v[i].
  static __m256i half_sums(const __m256i* v) {
    const __m256i ab =
        _mm256_add_epi32(_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
    const __m256i cd =
        _mm256_add_epi32(_mm256_unpacklo_epi32(v[2], v[3]), _mm256_unpackhi_epi32(v[2], v[3]));
    return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
  }

  /// Scores of query q at eight positions from `at` on, and what group g adds to them.
  __m256 add_group(int q, int64_t g, int64_t at, __m256i sums, __m256 score) const {
    const __m256 scale = _mm256_load_ps(groups.scales + g * kChunk + at);
    const __m256 bias = _mm256_load_ps(groups.biases + g * kChunk + at);
    const int64_t place = q * kMostGroups + g;
    const __m256 factor = _mm256_mul_ps(scale, _mm256_broadcast_ss(queries.scales + place));
    score = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), factor, score);
    return _mm256_fmadd_ps(bias, _mm256_broadcast_ss(queries.sums + place), score);
  }

  /// Scores of eight positions, from `at` on, whose rows lie at `rows`; a group has kColumns times
  /// 16 bytes or a multiple.
  template <int bits, int Q, int kColumns>
  __attribute__((noinline)) void scores8(Queries& all, int at_query, const Rows& k,
                                         const uint8_t* rows, int64_t at,
                                         const uint8_t* next) const {
    const int64_t row = k.dim * bits / 8, group = k.group * bits / 8;
    const int16_t* q = queries.words + 2 * all.stride * at_query;
    __m256 score[Q];
#pragma GCC unroll 2
    for (int j = 0; j < Q; ++j) score[j] = _mm256_setzero_ps();
    const uint8_t* const end = rows + row;
    for (int64_t g = 0; rows < end; ++g) {
      __m256i sums[4 * Q];
#pragma GCC unroll 8
      for (int i = 0; i < 4 * Q; ++i) sums[i] = _mm256_setzero_si256();
      for (const uint8_t* const group_end = rows + group; rows < group_end;)
#pragma GCC unroll 2
        for (int c = 0; c < kColumns; ++c, rows += 16) {
          __builtin_prefetch(next, 0, 3);
          __builtin_prefetch(next + 64, 0, 3);
          next += 128;
          __m256i v[4];
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) v[i] = two_rows(rows + i * row, rows + (i + 4) * row);
          multiply<bits, Q, 0>(v, q, 2 * all.stride, sums);
          q += 256 / bits;
        }
#pragma GCC unroll 2
      for (int j = 0; j < Q; ++j)
        score[j] = add_group(at_query + j, g, at, half_sums(sums + 4 * j), score[j]);
    }
#pragma GCC unroll 2
    for (int j = 0; j < Q; ++j) _mm256_store_ps(all.score(at_query + j) + at, score[j]);
  }

  /// Asks for scales and biases of the next chunk, beside positions [at, at + 8) of this one: each
  /// pair of arrays has 2 * groups lines.
  static void fetch_groups(const Chunk& chunk, int64_t at) {
    if (chunk.k.next.scales == nullptr) return;
    const int64_t k_lines = 2 * (chunk.k.dim / chunk.k.group);
    const int64_t lines = k_lines + 2 * (chunk.v.dim / chunk.v.group);
    for (int64_t i = lines * at / kChunk; i < lines * (at + 8) / kChunk; ++i) {
      const Place& from = i < k_lines ? chunk.k.next : chunk.v.next;
      const int64_t line = 64 * (i < k_lines ? i : i - k_lines);
      __builtin_prefetch(from.scales + line, 0, 3);
      __builtin_prefetch(from.biases + line, 0, 3);
    }
  }

  /// Of the next chunk, what is prefetched beside positions [at, at + 8) of this one.
  static const uint8_t* next_rows(const Chunk& chunk, int64_t at, int64_t row) {
    return chunk.k.next.at + least(at, most(chunk.after - 8, 0)) * row;
  }

  /// Eight rows from `at` on, or a copy of those that there are.
  template <int bits>
  static const uint8_t* whole_rows(const Chunk& chunk, int64_t at, uint8_t* copy) {
    const int64_t row = chunk.k.dim * bits / 8, positions = chunk.end - chunk.begin;
    const uint8_t* const from = chunk.k.here.at + at * row;
    if (at + 8 <= positions) return from;
    __builtin_memcpy(copy, from, static_cast<size_t>((positions - at) * row));
    return copy;
  }

  /// Scores of queries [at_query, at_query + Q).
  template <int bits, int Q>
  void scores(Queries& all, int at_query, const Chunk& chunk, int64_t low, int64_t high,
              bool ahead) {
    alignas(32) uint8_t copy[8 * kMaxHeadDim];
    const int64_t row = chunk.k.dim * bits / 8;
    for (int64_t at = low / 8 * 8; at < high; at += 8) {
      const uint8_t* const rows = whole_rows<bits>(chunk, at, copy);
      if (ahead) fetch_groups(chunk, at);
      const uint8_t* const asked = ahead ? next_rows(chunk, at, row) : rows;
      if (bits == 4 && chunk.k.group == 32)
        scores8<bits, Q, 1>(all, at_query, chunk.k, rows, at, asked);
      else
        scores8<bits, Q, 2>(all, at_query, chunk.k, rows, at, asked);
    }
  }
};

}  // namespace
}  // namespace stepless::kernels
