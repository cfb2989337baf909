// The values of packed pages by VPDPBUSD: attn_planes.hpp.
#pragma once
#include "kernels/cpu/any/attn_few.hpp"
#include "kernels/cpu/avx512vnni/attn_groups.hpp"
#include "kernels/cpu/avx512vnni/products.hpp"

namespace stepless::kernels {
namespace {

/// What a query makes of the values of one group: its weights, times the scales of their positions,
/// as two planes. Dword 4 (t % 4) + t / 4 is that of positions 4 t to 4 t + 3: so
/// _mm512_packs_epi16 leaves them.
struct GroupWeights {
  alignas(64) uint8_t planes[2][kChunk];

  static int64_t place(int64_t t) { return (t & 3) << 4 | t >> 2 << 2; }
};

/// The same of all groups, for four queries.
struct Weights {
  GroupWeights of[4][kMostGroups];
  float scales[4][kMostGroups];  // from integers
  float bases[4][kMostGroups];   // the sum of weight * bias, and what rounding to planes lost
  bool count[4];                 // false: the query sees nothing of the chunk
};

template <class T, DType type>
struct ValuePlanes {
  Weights weights;
  GroupRows<type> groups;

  /// Weights below this share of the largest count nothing, and their products with scales would
  /// be subnormal: those cost an assist of some hundred cycles each.
  static constexpr float kLeastWeight = 1e-25f;

  // ---- weights ----

  static void store_planes(const __m512i* words, GroupWeights& to) {
    const __m512i a = _mm512_packs_epi32(words[0], words[1]);
    const __m512i b = _mm512_packs_epi32(words[2], words[3]);
    const __m512i half = _mm512_set1_epi16(128), low = _mm512_set1_epi16(255);
    const __m512i high_a = _mm512_srai_epi16(_mm512_add_epi16(a, half), 8);
    const __m512i high_b = _mm512_srai_epi16(_mm512_add_epi16(b, half), 8);
    _mm512_store_si512(to.planes[0], _mm512_packs_epi16(high_a, high_b));
    _mm512_store_si512(to.planes[1],
                       _mm512_packus_epi16(_mm512_and_si512(a, low), _mm512_and_si512(b, low)));
  }

  /// `seen`: which of the weights w count.
  template <int bits>
  void share_group(int j, int64_t g, const __m512* w, const __mmask16* seen) {
    const float* const scales = groups.scales + g * kChunk;
    const float* const biases = groups.biases + g * kChunk;
    __m512 shares[4], most = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      shares[v] = _mm512_maskz_mul_ps(seen[v], w[v], _mm512_load_ps(scales + 16 * v));
      most = _mm512_range_ps(most, shares[v], 0x0b);  // the larger magnitude
    }
    // Of 24 bits, not of 11 or 8: what lies just below 32640 is rounded to it, which has no planes.
    const GroupScale scale = word_scale(largest_bits(most) + 0x200);
    const __m512 to = _mm512_set1_ps(scale.to_integers);
    const __m512 from = _mm512_set1_ps(scale.from_integers);
    // Codes are taken from their middle for what rounding loses: else it weighs three times as
    // much.
    const __m512 middle = _mm512_set1_ps(bits == 4 ? 7.5f : 127.5f);
    __m512i words[4];
    __m512 base = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      words[v] = _mm512_cvtps_epi32(_mm512_mul_ps(shares[v], to));
      const __m512 lost = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(words[v]), from, shares[v]);
      base = _mm512_mask3_fmadd_ps(w[v], _mm512_load_ps(biases + 16 * v), base, seen[v]);
      base = _mm512_fmadd_ps(lost, middle, base);
    }
    store_planes(words, weights.of[j][g]);
    weights.scales[j][g] = scale.from_integers;
    weights.bases[j][g] = _mm512_reduce_add_ps(base);
  }

  /// Weights of query q.
  template <int bits>
  void share(Queries& all, int q, int64_t count, Stream& stream) {
    weights.count[q % 4] = all.sees(q);
    const int64_t begin = all.begin[q], end = all.end[q];
    const uint64_t before_end = end >= 64 ? ~0ull : (1ull << end) - 1;
    const uint64_t range = begin < end ? before_end & ~0ull << begin : 0;
    __m512 w[4];
    __mmask16 seen[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      w[v] = _mm512_load_ps(all.score(q) + 16 * v);
      seen[v] = _mm512_mask_cmp_ps_mask(static_cast<__mmask16>(range >> 16 * v), w[v],
                                        _mm512_set1_ps(kLeastWeight), _CMP_NLE_UQ);
    }
    for (int64_t g = 0; g < count; ++g) {
      stream.fetch(bits);
      share_group<bits>(q % 4, g, w, seen);
    }
  }

  // ---- values ----

  /// A block of values: 64 bytes of every row, or, with four groups, the last ones.
  struct Block {
    const uint8_t* at;
    int64_t row, positions;  // bytes of a row; rows that may be read
    __mmask16 dwords;
    int64_t from, to;   // fours of positions
    int slot;           // of the first query's weights
    int64_t groups[4];  // of the quarters of a block; of one group or two those of the halves
  };

  /// Four bytes of a plane, in the lanes of their group; G groups.
  template <int G>
  static __m512i spread(const Block& block, const GroupWeights* of, int plane, int64_t place) {
    const auto four = [&](int g) {
      return _mm_loadu_si32(of[block.groups[g]].planes[plane] + place);
    };
    __m512i all = _mm512_broadcastd_epi32(four(0));
    if constexpr (G == 2) all = _mm512_mask_broadcastd_epi32(all, 0xFF00, four(1));
    if constexpr (G == 4) {
      all = _mm512_mask_broadcastd_epi32(all, 0x00F0, four(1));
      all = _mm512_mask_broadcastd_epi32(all, 0x0F00, four(2));
      all = _mm512_mask_broadcastd_epi32(all, 0xF000, four(3));
    }
    return all;
  }

  template <int G>
  static __m512 spread_floats(const Block& block, const float* of) {
    __m512 all = _mm512_set1_ps(of[block.groups[0]]);
    if constexpr (G == 2)
      all = _mm512_mask_blend_ps(0xFF00, all, _mm512_set1_ps(of[block.groups[1]]));
    if constexpr (G == 4) {
      all = _mm512_mask_blend_ps(0x00F0, all, _mm512_set1_ps(of[block.groups[1]]));
      all = _mm512_mask_blend_ps(0x0F00, all, _mm512_set1_ps(of[block.groups[2]]));
      all = _mm512_mask_blend_ps(0xF000, all, _mm512_set1_ps(of[block.groups[3]]));
    }
    return all;
  }

  /// Bytes of four positions. Of four groups: or as many as there are.
  template <int G>
  static void load_rows(const Block& block, int64_t t, __m512i* rows) {
    const uint8_t* const at = block.at + 4 * t * block.row;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      if constexpr (G < 4) {
        rows[i] = _mm512_loadu_si512(at + i * block.row);
      } else {
        const int64_t offset = least(4 * t + i, block.positions - 1) * block.row;
        rows[i] = _mm512_maskz_loadu_epi32(block.dwords, block.at + offset);
      }
    }
  }

  /// Vectors u to u + U - 1 of the four in which bytes of rows a, b, c and d lie together: those of
  /// 4 u to 4 u + 3 of each quarter.
  template <int u, int U>
  static void join(const __m512i* rows, __m512i* to) {
    if constexpr (u < 2) {
      const __m512i x = _mm512_unpacklo_epi8(rows[0], rows[1]);
      const __m512i y = _mm512_unpacklo_epi8(rows[2], rows[3]);
      if constexpr (u == 0) to[0] = _mm512_unpacklo_epi16(x, y);
      if constexpr (u + U > 1) to[1 - u] = _mm512_unpackhi_epi16(x, y);
    }
    if constexpr (u + U > 2) {
      const __m512i x = _mm512_unpackhi_epi8(rows[0], rows[1]);
      const __m512i y = _mm512_unpackhi_epi8(rows[2], rows[3]);
      if constexpr (u <= 2) to[2 - u] = _mm512_unpacklo_epi16(x, y);
      if constexpr (u + U > 3) to[3 - u] = _mm512_unpackhi_epi16(x, y);
    }
  }

  /// Weighted sums of vectors [u, u + U) to `sums`: (Q, halves of a byte, 4).
  template <int bits, int G, int Q, int u, int U>
  __attribute__((noinline)) void add(const Block& block, Stream& stream, __m512* sums) const {
    constexpr int N = bits == 4 ? 2 : 1, kEach = U * N;
    __m512i acc[2 * Q * kEach];
#pragma GCC unroll 16
    for (int i = 0; i < 2 * Q * kEach; ++i) acc[i] = _mm512_setzero_si512();
    for (int64_t t = block.from; t < block.to; ++t) {
      __m512i rows[4], codes[4 * N];
      load_rows<G>(block, t, rows);
      join<u, U>(rows, codes);
      stream.fetch(bits / 2);
      if constexpr (bits == 4) {
#pragma GCC unroll 4
        for (int i = 0; i < U; ++i) {
          codes[U + i] = _mm512_and_si512(codes[i], _mm512_set1_epi8(static_cast<char>(0xf0)));
          codes[i] = _mm512_and_si512(codes[i], _mm512_set1_epi8(15));
        }
      }
      const int64_t place = GroupWeights::place(t);
#pragma GCC unroll 4
      for (int j = 0; j < Q; ++j)
#pragma GCC unroll 2
        for (int plane = 0; plane < 2; ++plane) {
          const __m512i w = spread<G>(block, weights.of[block.slot + j], plane, place);
#pragma GCC unroll 8
          for (int i = 0; i < kEach; ++i)
            add_products(acc[(j * 2 + plane) * kEach + i], codes[i], w);
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < Q; ++j) {
      const __m512 scale = spread_floats<G>(block, weights.scales[block.slot + j]);
      const __m512 base = spread_floats<G>(block, weights.bases[block.slot + j]);
#pragma GCC unroll 8
      for (int i = 0; i < kEach; ++i) {
        const __m512i high = _mm512_slli_epi32(acc[j * 2 * kEach + i], 8);
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_add_epi32(high, acc[(j * 2 + 1) * kEach + i]));
        // The codes of high halves were taken sixteenfold.
        const __m512 factor = i < U ? scale : _mm512_mul_ps(scale, _mm512_set1_ps(0.0625f));
        sums[(j * N + i / U) * 4 + u + i % U] = _mm512_fmadd_ps(sum, factor, base);
      }
    }
  }

  /// From vectors of 4 u .. of each quarter to the quarters themselves.
  static void to_quarters(__m512* v) {
    const __m512 a = _mm512_shuffle_f32x4(v[0], v[1], 0x44);
    const __m512 b = _mm512_shuffle_f32x4(v[2], v[3], 0x44);
    const __m512 c = _mm512_shuffle_f32x4(v[0], v[1], 0xee);
    const __m512 d = _mm512_shuffle_f32x4(v[2], v[3], 0xee);
    v[0] = _mm512_shuffle_f32x4(a, b, 0x88);
    v[1] = _mm512_shuffle_f32x4(a, b, 0xdd);
    v[2] = _mm512_shuffle_f32x4(c, d, 0x88);
    v[3] = _mm512_shuffle_f32x4(c, d, 0xdd);
  }

  static __m512i counted(int first, int step) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_add_epi32(_mm512_mullo_epi32(lanes, _mm512_set1_epi32(step)),
                            _mm512_set1_epi32(first));
  }

  /// The sums of a query in the order of y's slots: vectors of the block one after the other.
  template <int bits>
  static void to_slots(__m512* v) {
    to_quarters(v);
    if constexpr (bits == 4) {
      to_quarters(v + 4);
      __m512 pairs[8];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        pairs[2 * i] = v[i], pairs[2 * i + 1] = v[4 + i];  // even elements, odd ones
        if constexpr (type != DType::bf16) {
          const __m512i low =
              _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
          const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
          pairs[2 * i] = _mm512_permutex2var_ps(v[i], low, v[4 + i]);
          pairs[2 * i + 1] = _mm512_permutex2var_ps(v[i], high, v[4 + i]);
        }
      }
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) v[i] = pairs[i];
    } else if constexpr (type == DType::bf16) {
      const __m512i evens =
          _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
      const __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
#pragma GCC unroll 2
      for (int i = 0; i < 4; i += 2) {
        const __m512 even = _mm512_permutex2var_ps(v[i], evens, v[i + 1]);
        v[i + 1] = _mm512_permutex2var_ps(v[i], odds, v[i + 1]);
        v[i] = even;
      }
    }
  }

  /// Adds a chunk's sums to what y is of query q.
  static void update(const Queries& all, int q, __m512 sums, float* y) {
    const __m512 old = _mm512_mul_ps(_mm512_loadu_ps(y), _mm512_set1_ps(all.before[q]));
    _mm512_storeu_ps(y, _mm512_fmadd_ps(sums, _mm512_set1_ps(all.now[q]), old));
  }

  template <int bits, int G, int Q>
  void add_block(Queries& all, int at_query, const Block& block, Stream& stream, int64_t element,
                 int64_t dim) {
    constexpr int kVectors = bits == 4 ? 8 : 4;
    __m512 sums[Q * kVectors];
    if constexpr (Q * kVectors <= 8) {
      add<bits, G, Q, 0, 4>(block, stream, sums);
    } else if constexpr (Q * kVectors == 16) {
      add<bits, G, Q, 0, 2>(block, stream, sums);
      add<bits, G, Q, 2, 2>(block, stream, sums);
    } else {
      add<bits, G, Q, 0, 1>(block, stream, sums);
      add<bits, G, Q, 1, 1>(block, stream, sums);
      add<bits, G, Q, 2, 1>(block, stream, sums);
      add<bits, G, Q, 3, 1>(block, stream, sums);
    }
    const int64_t vectors = least(kVectors, (dim - element) / 16);
    for (int j = 0; j < Q; ++j) {
      const int q = at_query + j;
      if (!weights.count[block.slot + j]) continue;
      __m512* const v = sums + j * kVectors;
      to_slots<bits>(v);
      for (int64_t i = 0; i < vectors; ++i) update(all, q, v[i], all.y(q) + element + 16 * i);
    }
  }

  /// Adds the values of a chunk, of which positions [from, to) count, to queries [at_query,
  /// at_query + Q), whose weights are those of now.
  template <int bits, int Q>
  void gather(Queries& all, int at_query, const Chunk& chunk, Stream& stream, int64_t from,
              int64_t to) {
    const Rows& v = chunk.v;
    const int64_t row = v.dim * bits / 8, step = 512 / bits;
    Block block = {};
    block.row = row, block.positions = chunk.end - chunk.begin;
    block.from = from / 4, block.to = (to + 3) / 4;
    block.slot = at_query % 4;
    for (int64_t i = 0; i < v.dim; i += step) {
      const int64_t at = i * bits / 8, dwords = least(16, (row - at) / 4);
      block.at = v.here.at + at;
      block.dwords = static_cast<__mmask16>((1u << dwords) - 1);
      const bool whole = dwords == 16 && 4 * block.to <= block.positions;
      const int64_t parts = !whole || step >= 4 * v.group ? 4 : step == 2 * v.group ? 2 : 1;
      for (int64_t part = 0; part < parts; ++part)
        block.groups[part] = least(i + part * (step / parts), v.dim - 1) / v.group;
      if (parts == 1)
        add_block<bits, 1, Q>(all, at_query, block, stream, i, v.dim);
      else if (parts == 2)
        add_block<bits, 2, Q>(all, at_query, block, stream, i, v.dim);
      else
        add_block<bits, 4, Q>(all, at_query, block, stream, i, v.dim);
    }
  }
};

}  // namespace
}  // namespace stepless::kernels
