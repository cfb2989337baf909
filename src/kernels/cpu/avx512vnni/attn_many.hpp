// Packed pages for many queries by VPDPBUSD (attn_planes.hpp): codes of a chunk are turned once, so
// that a lane is a position of the keys and an element of the values, and what is read of them
// serves four queries. The integers are those of the few, hence the bits.
#pragma once
#include "kernels/cpu/avx512vnni/attn_keys.hpp"
#include "kernels/cpu/avx512vnni/attn_values.hpp"

namespace stepless::kernels {
namespace {

template <class T, DType type>
struct Many {
  using Keys = KeyPlanes<T, type>;
  using Values = ValuePlanes<T, type>;

  /// Turns the 4 x 4 dwords of every quarter of four vectors.
  static void turn_quarters(const __m512i* v, uint8_t* to) {
    const __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpacklo_epi32(v[2], v[3]);
    const __m512i c = _mm512_unpackhi_epi32(v[0], v[1]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    _mm512_store_si512(to, _mm512_unpacklo_epi64(a, b));
    _mm512_store_si512(to + 4 * kChunk, _mm512_unpackhi_epi64(a, b));
    _mm512_store_si512(to + 8 * kChunk, _mm512_unpacklo_epi64(c, d));
    _mm512_store_si512(to + 12 * kChunk, _mm512_unpackhi_epi64(c, d));
  }

  /// Keys of a chunk to (elements / 4, kChunk) dwords, elements in the order of planes.
  template <int bits>
  __attribute__((noinline)) static void turn_keys(const Rows& k, int64_t positions, uint8_t* to) {
    alignas(64) uint8_t copy[16 * kMaxHeadDim];
    const int64_t row = k.dim * bits / 8;
    for (int64_t at = 0; at < positions; at += 16) {
      const uint8_t* const rows = Keys::template whole_rows<bits>(k, at, positions, copy);
      for (int64_t i = 0; i < k.dim; i += 32) {
        __m512i codes[8];
        Keys::template load_codes<bits>(rows + i * bits / 8, row, codes);
        turn_quarters(codes, to + i * kChunk + 4 * at);
        turn_quarters(codes + 4, to + (i + 16) * kChunk + 4 * at);
      }
    }
  }

  /// Values of a chunk to (positions / 4, dim) dwords, elements in the order of y's slots.
  template <int bits>
  __attribute__((noinline)) static void turn_values(const Rows& v, int64_t positions, uint8_t* to) {
    constexpr int kVectors = 32 / bits;
    typename Values::Block block = {};
    block.row = v.dim * bits / 8, block.positions = positions;
    for (int64_t i = 0; i < v.dim; i += 16 * kVectors) {
      const int64_t vectors = least(kVectors, (v.dim - i) / 16);
      block.at = v.here.at + i * bits / 8;
      block.dwords = static_cast<__mmask16>((1u << vectors * bits / 2) - 1);
      for (int64_t t = 0; 4 * t < positions; ++t) {
        __m512i rows[4], codes[kVectors];
        Values::template load_rows<4>(block, t, rows);
        Values::template join<0, 4>(rows, codes);
        if constexpr (bits == 4) Keys::split_pairs(codes);
        __m512 slots[kVectors];
#pragma GCC unroll 8
        for (int n = 0; n < kVectors; ++n) slots[n] = _mm512_castsi512_ps(codes[n]);
        Values::template to_slots<bits>(slots);
        for (int64_t n = 0; n < vectors; ++n)
          _mm512_store_ps(to + 4 * (t * v.dim + i + 16 * n), slots[n]);
      }
    }
  }

  static __m512i dword(const uint8_t* at) { return _mm512_broadcastd_epi32(_mm_loadu_si32(at)); }

  /// Scores of queries [at_query, at_query + 4) at positions [at, at + 16 V).
  template <int V>
  __attribute__((noinline)) static void scores(const Keys& keys, const uint8_t* turned,
                                               Queries& all, int at_query, const Rows& k,
                                               int64_t at) {
    const int64_t stride = 2 * all.stride;
    const uint8_t* q = keys.queries.bytes + stride * at_query;
    turned += 4 * at;
    for (int64_t g = 0; g < k.dim / k.group; ++g) {
      __m512i acc[4 * V];
#pragma GCC unroll 16
      for (int i = 0; i < 4 * V; ++i) acc[i] = _mm512_setzero_si512();
      for (int plane = 0; plane < 2; ++plane) {
        const uint8_t *x = q + 16 * plane, *codes = turned;
        for (int64_t i = 0; i < k.group; i += 16, x += 32) {
#pragma GCC unroll 4
          for (int d = 0; d < 4; ++d, codes += 4 * kChunk)
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j) {
              const __m512i four = dword(x + stride * j + 4 * d);
#pragma GCC unroll 4
              for (int v = 0; v < V; ++v)
                add_products(acc[j * V + v], _mm512_load_si512(codes + 64 * v), four);
            }
        }
        if (plane == 1) break;
#pragma GCC unroll 16
        for (int i = 0; i < 4 * V; ++i) acc[i] = _mm512_slli_epi32(acc[i], 8);
      }
      q += 2 * k.group, turned += k.group * kChunk;
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          float* const score = all.score(at_query + j) + at + 16 * v;
          const __m512 before = g == 0 ? _mm512_setzero_ps() : _mm512_load_ps(score);
          _mm512_store_ps(score,
                          keys.add_group(at_query + j, g, at + 16 * v, acc[j * V + v], before));
        }
    }
  }

  /// Adds the values, elements [i, i + 32 P), to queries [at_query, at_query + 4).
  template <int P>
  __attribute__((noinline)) static void gather(const Values& values, const uint8_t* turned,
                                               Queries& all, int at_query, const Rows& v, int64_t i,
                                               int64_t from, int64_t to) {
    __m512i acc[8 * P];
#pragma GCC unroll 16
    for (int n = 0; n < 8 * P; ++n) acc[n] = _mm512_setzero_si512();
    int64_t group[P];
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) group[p] = (i + 32 * p) / v.group;
    for (int plane = 0; plane < 2; ++plane) {
      for (int64_t t = from; t < to; ++t) {
        const uint8_t* const codes = turned + 4 * (t * v.dim + i);
        const int64_t place = GroupWeights::place(t);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j)
#pragma GCC unroll 2
          for (int p = 0; p < P; ++p) {
            const __m512i w = dword(values.weights.of[j][group[p]].planes[plane] + place);
            __m512i* const sums = acc + (j * P + p) * 2;
            add_products(sums[0], _mm512_load_si512(codes + 128 * p), w);
            add_products(sums[1], _mm512_load_si512(codes + 128 * p + 64), w);
          }
      }
      if (plane == 1) break;
#pragma GCC unroll 16
      for (int n = 0; n < 8 * P; ++n) acc[n] = _mm512_slli_epi32(acc[n], 8);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      if (!values.weights.count[j]) continue;
      float* const y = all.y(at_query + j) + i;
#pragma GCC unroll 4
      for (int n = 0; n < 2 * P; ++n) {
        const __m512 sum = _mm512_cvtepi32_ps(acc[j * 2 * P + n]);
        const __m512 scale = _mm512_set1_ps(values.weights.scales[j][group[n / 2]]);
        const __m512 base = _mm512_set1_ps(values.weights.bases[j][group[n / 2]]);
        Values::update(all, at_query + j, _mm512_fmadd_ps(sum, scale, base), y + 16 * n);
      }
    }
  }

  /// A chunk; `room` holds 4 bytes for each of its elements, twice.
  template <int bits>
  static void visit(const AttnArgs& args, Queries& all, const Chunk& chunk, Keys& keys,
                    Values& values, uint8_t* turned_k, uint8_t* turned_v) {
    const int64_t positions = chunk.end - chunk.begin;
    turn_keys<bits>(chunk.k, positions, turned_k);
    int64_t low, high;
    for (int q = 0; q < all.count; q += 4) {
      if (!all.seen_by(q, 4, low, high)) continue;
      keys.stream.template fetch<4>();
      if (low < 32 && high > 32)
        scores<4>(keys, turned_k, all, q, chunk.k, 0);
      else
        scores<2>(keys, turned_k, all, q, chunk.k, low < 32 ? 0 : 32);
      soften<T, 4>(args, all, q, low, high);
    }
    weigh_chunk<T>(all);
    turn_values<bits>(chunk.v, positions, turned_v);
    for (int q = 0; q < all.count; q += 4) {
      if (!all.seen_by(q, 4, low, high)) continue;
      keys.stream.template fetch<4>();
      values.template share<bits>(all, q, 4, chunk.v.dim / chunk.v.group, keys.stream);
      int64_t i = 0;
      for (; i + 64 <= chunk.v.dim; i += 64)
        gather<2>(values, turned_v, all, q, chunk.v, i, low / 4, (high + 3) / 4);
      if (i < chunk.v.dim) gather<1>(values, turned_v, all, q, chunk.v, i, low / 4, (high + 3) / 4);
    }
  }
};

}  // namespace
}  // namespace stepless::kernels
