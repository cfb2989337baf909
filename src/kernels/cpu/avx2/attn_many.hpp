// Packed pages for many queries by VPMADDWD (attn_words.hpp): codes of a chunk are widened and
// turned once, so that a lane is a position of the keys and an element of the values, and what is
// read of them serves four queries. The integers are those of the few, hence the bits.
#pragma once
#include "kernels/cpu/avx2/attn_keys.hpp"
#include "kernels/cpu/avx2/attn_values.hpp"

namespace stepless::kernels {
namespace {

template <class T, DType type>
struct Many {
  using Keys = KeyWords<T, type>;
  using Values = ValueWords<T, type>;

  static void store(__m256i v, int16_t* to) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), v);
  }
  static __m256i pair(const int16_t* at) { return _mm256_broadcastd_epi32(_mm_loadu_si32(at)); }

  /// Turns the 4 x 4 dwords of both halves of four vectors.
  static void turn_halves(const __m256i* v, int16_t* to) {
    const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpacklo_epi32(v[2], v[3]);
    const __m256i c = _mm256_unpackhi_epi32(v[0], v[1]), d = _mm256_unpackhi_epi32(v[2], v[3]);
    store(_mm256_unpacklo_epi64(a, b), to);
    store(_mm256_unpackhi_epi64(a, b), to + 2 * kChunk);
    store(_mm256_unpacklo_epi64(c, d), to + 4 * kChunk);
    store(_mm256_unpackhi_epi64(c, d), to + 6 * kChunk);
  }

  /// The n-th codes of eight positions and those after them.
  template <int bits, int n>
  static void turn_codes(const __m256i* words, int16_t* to) {
    __m256i codes[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) codes[i] = Keys::template codes_of<bits, n>(words[i]);
    turn_halves(codes, to + 8 * n * kChunk);
    if constexpr (n + 1 < 16 / bits) turn_codes<bits, n + 1>(words, to);
  }

  /// Keys of a chunk to (elements / 2, kChunk) dwords, elements in the order of a query's words.
  template <int bits>
  __attribute__((noinline)) static void turn_keys(const Chunk& chunk, int16_t* to) {
    alignas(32) uint8_t copy[8 * kMaxHeadDim];
    const int64_t row = chunk.k.dim * bits / 8;
    for (int64_t at = 0; at < chunk.end - chunk.begin; at += 8) {
      const uint8_t* const rows = Keys::template whole_rows<bits>(chunk, at, copy);
      const uint8_t* const next = Keys::next_rows(chunk, at, row);
      Keys::fetch_groups(chunk, at);
      for (int64_t i = 0; i < row; i += 16) {
        __builtin_prefetch(next + 8 * i, 0, 3);
        __builtin_prefetch(next + 8 * i + 64, 0, 3);
        __m256i words[4];
#pragma GCC unroll 4
        for (int p = 0; p < 4; ++p)
          words[p] = Keys::two_rows(rows + i + p * row, rows + i + (p + 4) * row);
        turn_codes<bits, 0>(words, to + i * 8 / bits * kChunk + 2 * at);
      }
    }
  }

  /// Values of a chunk to (positions / 2, dim) dwords, elements in the order of y's slots.
  template <int bits>
  __attribute__((noinline)) static void turn_values(const Chunk& chunk, int16_t* to) {
    const Rows& v = chunk.v;
    const int64_t row = v.dim * bits / 8, last = chunk.end - chunk.begin - 1;
    for (int64_t j = 0; j <= last; j += 2, to += 2 * v.dim) {
      const uint8_t *a = v.here.at + j * row, *b = v.here.at + least(j + 1, last) * row;
      const uint8_t* const next = v.next.at + least(j, most(chunk.after - 2, 0)) * row;
      for (int64_t i = 0; i < row; i += 32) {
        __builtin_prefetch(next + 2 * i, 0, 3);
        join_rows<bits>(a + i, b + i, least(32, row - i), to + i * 16 / bits);
      }
    }
  }

  /// `bytes` of two rows: 32, or with 4 bits 16.
  template <int bits>
  static void join_rows(const uint8_t* a, const uint8_t* b, int64_t bytes, int16_t* to) {
    const auto load = [&](const uint8_t* at) {
      const auto* const p = reinterpret_cast<const __m128i_u*>(at);
      const __m256i low = _mm256_castsi128_si256(_mm_loadu_si128(p));
      return bytes == 16 ? low : _mm256_inserti128_si256(low, _mm_loadu_si128(p + 1), 1);
    };
    const __m256i x = load(a), y = load(b);
    const auto store_steps = [&](const __m256i* codes, int64_t first, int64_t second) {
      __m256 v[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) v[i] = _mm256_castsi256_ps(codes[i]);
      Values::template to_slots<bits>(v);
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        store(_mm256_castps_si256(v[i]), to + 2 * first + 16 * i);
        if (second >= 0) store(_mm256_castps_si256(v[2 + i]), to + 2 * second + 16 * i);
      }
    };
    __m256i codes[4];
    if constexpr (bits == 8) {
      Values::template join<8, 0>(x, y, codes);
      return store_steps(codes, 0, 16);
    } else {
      Values::template join<4, 0>(x, y, codes);
      cut_bytes(codes);
      store_steps(codes, 0, bytes == 16 ? -1 : 32);
      Values::template join<4, 1>(x, y, codes);
      cut_bytes(codes);
      store_steps(codes, 16, bytes == 16 ? -1 : 48);
    }
  }

  /// High halves of bytes in place of whole ones.
  static void cut_bytes(__m256i* codes) {
    codes[1] = _mm256_srli_epi16(codes[1], 4), codes[3] = _mm256_srli_epi16(codes[3], 4);
  }

  /// acc (4, 2) += the products of two vectors with a pair of each of four queries.
  template <class Add>
  __attribute__((always_inline)) static void add_pairs(const int16_t* codes,
                                                       const int16_t* const* x, __m256i* acc,
                                                       Add add) {
    const __m256i a = _mm256_load_si256(reinterpret_cast<const __m256i*>(codes));
    const __m256i b = _mm256_load_si256(reinterpret_cast<const __m256i*>(codes + 16));
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m256i two = pair(x[j]);
      add(a, two, acc[2 * j]);
      add(b, two, acc[2 * j + 1]);
    }
  }

  /// Scores of queries [at_query, at_query + 4) at positions [at, at + 16).
  __attribute__((noinline)) static void scores(const Keys& keys, const int16_t* turned,
                                               Queries& all, int at_query, const Rows& k,
                                               int64_t at) {
    const int16_t* q = keys.queries.words + 2 * all.stride * at_query;
    const int64_t stride = 2 * all.stride;
    turned += 2 * at;
    for (int64_t g = 0; g < k.dim / k.group; ++g) {
      __m256i acc[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) acc[i] = _mm256_setzero_si256();
      for (int64_t i = 0; i < k.group; i += 8, q += 16)
#pragma GCC unroll 4
        for (int d = 0; d < 8; d += 2, turned += 2 * kChunk) {
          const int16_t* const x[4] = {q + d, q + stride + d, q + 2 * stride + d,
                                       q + 3 * stride + d};
          add_pairs(turned, x, acc, add_products);
        }
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        float* const score = all.score(at_query + i / 2) + at + 8 * (i % 2);
        const __m256 before = g == 0 ? _mm256_setzero_ps() : _mm256_loadu_ps(score);
        _mm256_storeu_ps(score,
                         keys.add_group(at_query + i / 2, g, at + 8 * (i % 2), acc[i], before));
      }
    }
  }

  /// Adds the values, elements [i, i + 16), to queries [at_query, at_query + 4).
  __attribute__((noinline)) static void gather(const Values& values, const int16_t* turned,
                                               Queries& all, int at_query, const Rows& v, int64_t i,
                                               int64_t from, int64_t to) {
    const int64_t group = i / v.group;
    __m256i acc[8];
#pragma GCC unroll 8
    for (int n = 0; n < 8; ++n) acc[n] = _mm256_setzero_si256();
    const int16_t* w = values.weights.words[group][0] + 2 * from;
    for (int64_t t = from; t < to; ++t, w += 2) {
      const int16_t* const x[4] = {w, w + kChunk, w + 2 * kChunk, w + 3 * kChunk};
      add_pairs(turned + 2 * (t * v.dim + i), x, acc, add_in_loop);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      if (!all.sees(at_query + j)) continue;
      const __m256 scale = _mm256_broadcast_ss(&values.weights.scales[j][group]);
      const __m256 base = _mm256_broadcast_ss(&values.weights.bases[j][group]);
      __m256 sums[2];
#pragma GCC unroll 2
      for (int n = 0; n < 2; ++n)
        sums[n] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[2 * j + n]), scale, base);
      Values::update(all, at_query + j, sums, all.y(at_query + j) + i);
    }
  }

  /// A chunk; `turned` have room for 2 bytes of each of its elements.
  template <int bits>
  static void visit(const AttnArgs& args, Queries& all, const Chunk& chunk, Keys& keys,
                    Values& values, int16_t* turned_k, int16_t* turned_v) {
    turn_keys<bits>(chunk, turned_k);
    int64_t low, high;
    for (int q = 0; q < all.count; q += 4) {
      if (!all.seen_by(q, 4, low, high)) continue;
      for (int64_t at = low / 16 * 16; at < high; at += 16)
        scores(keys, turned_k, all, q, chunk.k, at);
      soften<T, 4>(args, all, q, low, high);
    }
    weigh_chunk<T>(all);
    turn_values<bits>(chunk, turned_v);
    const int64_t groups = chunk.v.dim / chunk.v.group;
    for (int q = 0; q < all.count; q += 4) {
      if (!all.seen_by(q, 4, low, high)) continue;
      values.template share<bits, 2>(all, q, 0, groups);
      values.template share<bits, 2>(all, q + 2, 2, groups);
      for (int64_t i = 0; i < chunk.v.dim; i += 16)
        gather(values, turned_v, all, q, chunk.v, i, low / 2, (high + 1) / 2);
    }
  }
};

}  // namespace
}  // namespace stepless::kernels
