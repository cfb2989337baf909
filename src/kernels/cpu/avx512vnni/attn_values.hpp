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

/// Planes of weights as a block meets them, every dword in the lanes of its group: (fours of
/// positions, queries, planes) vectors.
struct SpreadWeights {
  alignas(64) uint8_t of[kChunk / 4 * 4 * 2 * 64];
};

template <class T, DType type>
struct ValuePlanes {
  Weights weights;
  SpreadWeights spreads;
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

  /// The weights of a query, and which of them count.
  struct Seen {
    __m512 w[4];
    __mmask16 count[4];

    Seen(Queries& all, int q) {
      const int64_t begin = all.begin[q], end = all.end[q];
      const uint64_t before_end = end >= 64 ? ~0ull : (1ull << end) - 1;
      const uint64_t range = begin < end ? before_end & ~0ull << begin : 0;
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        w[v] = _mm512_load_ps(all.score(q) + 16 * v);
        count[v] = _mm512_mask_cmp_ps_mask(static_cast<__mmask16>(range >> 16 * v), w[v],
                                           _mm512_set1_ps(kLeastWeight), _CMP_NLE_UQ);
      }
    }
  };

  /// Weights times the scales of group g; the largest of every lane, and the sum of its weight *
  /// bias.
  void meet_group(const Seen& seen, int64_t g, __m512* shares, __m512& largest,
                  __m512& base) const {
    const float* const scales = groups.scales + g * kChunk;
    const float* const biases = groups.biases + g * kChunk;
    largest = base = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      shares[v] = _mm512_maskz_mul_ps(seen.count[v], seen.w[v], _mm512_load_ps(scales + 16 * v));
      largest = _mm512_range_ps(largest, shares[v], 0x0b);  // the larger magnitude
      base = _mm512_mask3_fmadd_ps(seen.w[v], _mm512_load_ps(biases + 16 * v), base, seen.count[v]);
    }
  }

  /// word_scale() of four numbers. Of 24 bits, not of 11 or 8: what lies just below 32640 is
  /// rounded to it, which has no planes.
  static void word_scales(__m128i numbers, float* to_integers, float* from_integers) {
    const auto all = [](uint32_t x) { return _mm_set1_epi32(static_cast<int>(x)); };
    const __m128i largest = _mm_and_si128(numbers, all(INT32_MAX));
    const __m128i sum = _mm_srli_epi32(_mm_add_epi32(largest, all(0x10200)), 23);
    const __m128i exponent = _mm_max_epu32(sum, all(24));
    const __mmask8 no_number = _mm_cmpge_epu32_mask(exponent, all(255));
    const __m128i to = _mm_slli_epi32(_mm_sub_epi32(all(268), exponent), 23);
    const __m128i from = _mm_slli_epi32(_mm_sub_epi32(exponent, all(14)), 23);
    _mm_store_si128(reinterpret_cast<__m128i*>(to_integers),
                    _mm_mask_mov_epi32(to, no_number, _mm_setzero_si128()));
    _mm_store_si128(reinterpret_cast<__m128i*>(from_integers),
                    _mm_mask_mov_epi32(from, no_number, all(0x7FC00000)));
  }

  /// Planes of shares; adds to their base what rounding lost.
  template <int bits>
  static void store_shares(const __m512* shares, float to_integers, float from_integers,
                           __m512& base, GroupWeights& planes) {
    const __m512 to = _mm512_set1_ps(to_integers), from = _mm512_set1_ps(from_integers);
    // Codes are taken from their middle for what rounding loses: else it weighs three times as
    // much.
    const __m512 middle = _mm512_set1_ps(bits == 4 ? 7.5f : 127.5f);
    __m512i words[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      words[v] = _mm512_cvtps_epi32(_mm512_mul_ps(shares[v], to));
      const __m512 lost = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(words[v]), from, shares[v]);
      base = _mm512_fmadd_ps(lost, middle, base);
    }
    store_planes(words, planes);
  }

  /// Planes of J queries from q on and G groups from g on, four in all or less: largest numbers and
  /// sums are found in one tree each.
  template <int bits, int J, int G>
  __attribute__((noinline)) void share_groups(Queries& all, int q, int64_t g, Stream& stream) {
    __m512 shares[J * G][4], largest[4], bases[4];
#pragma GCC unroll 4
    for (int i = J * G; i < 4; ++i) largest[i] = bases[i] = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int j = 0; j < J; ++j) {
      const Seen seen(all, q + j);
#pragma GCC unroll 4
      for (int i = 0; i < G; ++i) {
        stream.template fetch<Pace<bits>::kWeights>();
        meet_group(seen, g + i, shares[j * G + i], largest[j * G + i], bases[j * G + i]);
      }
    }
    alignas(16) float numbers[4], to[4], from[4], sums[4];
    T::join_four(largest, numbers, [](__m512 a, __m512 b) { return _mm512_range_ps(a, b, 0x0b); });
    word_scales(_mm_load_si128(reinterpret_cast<const __m128i*>(numbers)), to, from);
#pragma GCC unroll 4
    for (int i = 0; i < J * G; ++i) {
      stream.template fetch<Pace<bits>::kWeights>();
      store_shares<bits>(shares[i], to[i], from[i], bases[i],
                         weights.of[(q + i / G) % 4][g + i % G]);
    }
    T::total_of_four(bases, sums);
#pragma GCC unroll 4
    for (int i = 0; i < J * G; ++i) {
      weights.scales[(q + i / G) % 4][g + i % G] = from[i];
      weights.bases[(q + i / G) % 4][g + i % G] = sums[i];
    }
  }

  /// Weights of `number` queries from q on, four at most, for `count` groups.
  template <int bits>
  void share(Queries& all, int q, int number, int64_t count, Stream& stream) {
    for (int j = q; j < q + number; ++j) weights.count[j % 4] = all.sees(j);
    for (; number >= 2; q += 2, number -= 2) {
      int64_t g = 0;
      for (; g + 2 <= count; g += 2) share_groups<bits, 2, 2>(all, q, g, stream);
      if (g < count) share_groups<bits, 2, 1>(all, q, g, stream);
    }
    if (number == 0) return;
    int64_t g = 0;
    for (; g + 4 <= count; g += 4) share_groups<bits, 1, 4>(all, q, g, stream);
    for (; g < count; ++g) share_groups<bits, 1, 1>(all, q, g, stream);
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

  /// Where the groups' weights lie of a block's first query; masks of their lanes. gcc 12 makes the
  /// masks anew for every use unless it cannot see what they are.
  template <int G>
  struct Places {
    const uint8_t* of[G];
    __mmask16 lanes[G];

    Places(const Weights& weights, const Block& block) {
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        of[g] = weights.of[block.slot][block.groups[g]].planes[0];
        lanes[g] = static_cast<__mmask16>(G == 4 ? 15 << 4 * g : 0xFF00);
        if (g > 0) asm("" : "+Yk"(lanes[g]));
      }
    }

    /// Four bytes of a plane of query j, in the lanes of their group.
    __m512i spread(int j, int plane, int64_t place) const {
      const int64_t at =
          j * static_cast<int64_t>(kMostGroups * sizeof(GroupWeights)) + plane * kChunk + place;
      __m512i all = _mm512_broadcastd_epi32(_mm_loadu_si32(of[0] + at));
#pragma GCC unroll 4
      for (int g = 1; g < G; ++g)
        all = _mm512_mask_broadcastd_epi32(all, lanes[g], _mm_loadu_si32(of[g] + at));
      return all;
    }
  };

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

  /// Asks the second cache for rows of the four positions t, or for the last ones.
  __attribute__((always_inline)) static void ask_for_rows(const Block& block, int64_t t) {
    const uint8_t* const at = block.at + least(4 * t, block.positions - 4) * block.row;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) __builtin_prefetch(at + i * block.row, 0, 3);
  }

  /// Integers of the weighted sums of vectors [u, u + U): (planes, Q, halves of a byte, U). What
  /// high halves are multiplied by is taken from whole bytes, less what low halves were: an
  /// instruction less for each vector of codes. Where a block takes several calls, the first leaves
  /// its spread weights for the others.
  template <int bits, int G, int Q, int u, int U>
  __attribute__((always_inline)) void add_rows(const Block& block, Stream& stream, __m512i* acc) {
    constexpr int N = bits == 4 ? 2 : 1, kEach = U * N;
    constexpr bool kKept = G > 1 && U < 4;
    const Places<G> places(weights, block);
    uint8_t* spread = spreads.of;
    for (int64_t t = block.from; t < block.to; ++t) {
      __m512i rows[4], codes[4 * N];
      load_rows<G>(block, t, rows);
      join<u, U>(rows, codes + (N - 1) * U);
      stream.template fetch<Pace<bits>::template kValues<u>>();
      if constexpr (u == 0) ask_for_rows(block, t + 4);
      if constexpr (bits == 4) {
#pragma GCC unroll 4
        for (int i = 0; i < U; ++i) codes[i] = _mm512_and_si512(codes[U + i], _mm512_set1_epi8(15));
      }
      const int64_t place = GroupWeights::place(t);
#pragma GCC unroll 4
      for (int j = 0; j < Q; ++j)
#pragma GCC unroll 2
        for (int plane = 0; plane < 2; ++plane) {
          __m512i w;
          if constexpr (kKept && u > 0) {
            w = _mm512_load_si512(spread);
          } else {
            w = places.spread(j, plane, place);
            if constexpr (kKept) _mm512_store_si512(spread, w);
          }
          if constexpr (kKept) spread += 64;
#pragma GCC unroll 8
          for (int i = 0; i < kEach; ++i)
            add_products(acc[(plane * Q + j) * kEach + i], codes[i], w);
        }
    }
  }

  /// Weighted sums of vectors [u, u + U) to `sums`: (Q, halves of a byte, 4).
  template <int bits, int G, int Q, int u, int U>
  __attribute__((noinline)) void add(const Block& block, Stream& stream, __m512* sums) {
    constexpr int N = bits == 4 ? 2 : 1, kEach = U * N;
    __m512i acc[2 * Q * kEach];
#pragma GCC unroll 16
    for (int i = 0; i < 2 * Q * kEach; ++i) acc[i] = _mm512_setzero_si512();
    add_rows<bits, G, Q, u, U>(block, stream, acc);
#pragma GCC unroll 4
    for (int j = 0; j < Q; ++j) {
      const __m512 scale = spread_floats<G>(block, weights.scales[block.slot + j]);
      const __m512 base = spread_floats<G>(block, weights.bases[block.slot + j]);
      __m512i whole[kEach];
#pragma GCC unroll 8
      for (int i = 0; i < kEach; ++i) {
        const __m512i high = _mm512_slli_epi32(acc[j * kEach + i], 8);
        whole[i] = _mm512_add_epi32(high, acc[(Q + j) * kEach + i]);
        if (i >= U) whole[i] = _mm512_sub_epi32(whole[i], whole[i - U]);
        // The codes of high halves were taken sixteenfold.
        const __m512 factor = i < U ? scale : _mm512_mul_ps(scale, _mm512_set1_ps(0.0625f));
        sums[(j * N + i / U) * 4 + u + i % U] =
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[i]), factor, base);
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
