// The values of packed pages by VPMADDWD: attn_words.hpp.
#pragma once
#include "kernels/cpu/avx2/attn_groups.hpp"

namespace stepless::kernels {
namespace {

/// What four queries make of the values: their weights, times the scales of their positions, as
/// integers of each group.
struct Weights {
  alignas(32) int16_t words[kMostGroups][4][kChunk];
  float scales[4][kMostGroups];  // from integers
  float bases[4][kMostGroups];   // the sum of weight * bias, and what rounding lost
};

template <class T, DType type>
struct ValueWords {
  Weights weights;
  GroupRows<type> groups;

  /// Weights below this share of the largest count nothing, and their products with scales would
  /// be subnormal: those cost an assist of some hundred cycles each.
  static constexpr float kLeastWeight = 1e-25f;

  // ---- weights ----

  /// Of eight weights from place j of the chunk on: which a query sees, and count something.
  static __m256 counted(const Queries& all, int q, int64_t j, __m256 w) {
    const __m256 count = _mm256_cmp_ps(w, _mm256_set1_ps(kLeastWeight), _CMP_NLE_UQ);
    if (all.begin[q] <= j && all.end[q] >= j + 8) return count;
    const __m256i place = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                                           _mm256_set1_epi32(static_cast<int>(j)));
    const __m256i begin = _mm256_set1_epi32(static_cast<int>(all.begin[q]));
    const __m256i end = _mm256_set1_epi32(static_cast<int>(all.end[q]));
    const __m256i seen =
        _mm256_andnot_si256(_mm256_cmpgt_epi32(begin, place), _mm256_cmpgt_epi32(end, place));
    return _mm256_and_ps(count, _mm256_castsi256_ps(seen));
  }

  /// Weights of a query times the scales of G groups, from g on; their largest magnitudes, and the
  /// sums of weight * bias.
  template <int G>
  void meet_groups(Queries& all, int q, int64_t g, float (*shares)[kChunk], __m256i* largest,
                   __m256* bases) const {
    const float* const scales = groups.scales + g * kChunk;
    const float* const biases = groups.biases + g * kChunk;
    const float* const weights_of = all.score(q);
#pragma GCC unroll 2
    for (int i = 0; i < G; ++i) largest[i] = _mm256_setzero_si256(), bases[i] = _mm256_setzero_ps();
    for (int64_t j = 0; j < kChunk; j += 8) {
      const __m256 any = _mm256_loadu_ps(weights_of + j), count = counted(all, q, j, any);
      const __m256 w = _mm256_and_ps(any, count);
#pragma GCC unroll 2
      for (int i = 0; i < G; ++i) {
        const __m256 scale = _mm256_and_ps(count, _mm256_load_ps(scales + i * kChunk + j));
        const __m256 bias = _mm256_and_ps(count, _mm256_load_ps(biases + i * kChunk + j));
        const __m256 share = _mm256_mul_ps(w, scale);
        _mm256_store_ps(shares[i] + j, share);
        largest[i] = _mm256_max_epu32(largest[i], magnitudes(share));
        bases[i] = _mm256_fmadd_ps(w, bias, bases[i]);
      }
    }
  }

  /// The results of join() over the lanes of four vectors.
  template <class Join>
  static __m128 join_four(const __m256* v, Join join) {
    const auto both = [&](__m256 x) {
      return join(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    };
    const __m128 a = both(v[0]), b = both(v[1]), c = both(v[2]), d = both(v[3]);
    const __m128 ab = join(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
    const __m128 cd = join(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
    return join(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
  }

  /// word_scale() of four magnitudes.
  static void word_scales(__m128i largest, float* to_integers, float* from_integers) {
    const auto all = [](uint32_t x) { return _mm_set1_epi32(static_cast<int>(x)); };
    const __m128i sum = _mm_srli_epi32(_mm_add_epi32(largest, all(0x10000)), 23);
    const __m128i exponent = _mm_max_epu32(sum, all(24));
    const __m128i number = _mm_cmpgt_epi32(all(255), exponent);
    const __m128i to = _mm_slli_epi32(_mm_sub_epi32(all(268), exponent), 23);
    const __m128i from = _mm_slli_epi32(_mm_sub_epi32(exponent, all(14)), 23);
    _mm_store_si128(reinterpret_cast<__m128i*>(to_integers), _mm_and_si128(number, to));
    _mm_store_si128(reinterpret_cast<__m128i*>(from_integers),
                    _mm_blendv_epi8(all(0x7FC00000), from, number));
  }

  /// Words of shares; what rounding lost.
  static __m256 store_words(const float* shares, float to_integers, float from_integers,
                            int16_t* words) {
    const __m256 to = _mm256_set1_ps(to_integers), from = _mm256_set1_ps(from_integers);
    __m256 lost = _mm256_setzero_ps();
#pragma GCC unroll 8
    for (int j = 0; j < kChunk; j += 8) {
      const __m256 share = _mm256_load_ps(shares + j);
      const __m256i n = _mm256_cvtps_epi32(_mm256_mul_ps(share, to));
      lost = _mm256_add_ps(lost, _mm256_fnmadd_ps(_mm256_cvtepi32_ps(n), from, share));
      _mm_store_si128(reinterpret_cast<__m128i*>(words + j),
                      _mm_packs_epi32(low_half(n), high_half(n)));
    }
    return lost;
  }

  /// Words of Q queries and G groups from g on: largest numbers and sums are found in one tree
  /// each.
  template <int bits, int Q, int G>
  __attribute__((noinline)) void share_groups(Queries& all, int q, int slot, int64_t g) {
    alignas(32) float shares[Q * G][kChunk];
    __m256i largest[4];
    __m256 bases[4], numbers[4];
#pragma GCC unroll 4
    for (int i = Q * G; i < 4; ++i) largest[i] = _mm256_setzero_si256(), bases[i] = __m256{};
#pragma GCC unroll 2
    for (int j = 0; j < Q; ++j)
      meet_groups<G>(all, q + j, g, shares + j * G, largest + j * G, bases + j * G);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) numbers[i] = _mm256_castsi256_ps(largest[i]);
    const __m128 most = join_four(numbers, [](__m128 a, __m128 b) {
      return _mm_castsi128_ps(_mm_max_epu32(_mm_castps_si128(a), _mm_castps_si128(b)));
    });
    alignas(16) float to[4], from[4], sums[4];
    word_scales(_mm_castps_si128(most), to, from);
    // Codes are taken from their middle for what rounding loses: else it weighs three times as
    // much.
    const __m256 middle = _mm256_set1_ps(bits == 4 ? 7.5f : 127.5f);
#pragma GCC unroll 4
    for (int i = 0; i < Q * G; ++i) {
      const __m256 lost =
          store_words(shares[i], to[i], from[i], weights.words[g + i % G][slot + i / G]);
      bases[i] = _mm256_fmadd_ps(lost, middle, bases[i]);
    }
    _mm_store_ps(sums, join_four(bases, [](__m128 a, __m128 b) { return _mm_add_ps(a, b); }));
#pragma GCC unroll 4
    for (int i = 0; i < Q * G; ++i) {
      weights.scales[slot + i / G][g + i % G] = from[i];
      weights.bases[slot + i / G][g + i % G] = sums[i];
    }
  }

  /// Weights of Q queries for `count` groups.
  template <int bits, int Q>
  void share(Queries& all, int q, int slot, int64_t count) {
    int64_t g = 0;
    for (; g + 2 <= count; g += 2) share_groups<bits, Q, 2>(all, q, slot, g);
    if (g < count) share_groups<bits, Q, 1>(all, q, slot, g);
  }

  // ---- values ----

  /// A block of values: 32 bytes of every row.
  struct Block {
    const uint8_t* at;
    int64_t row, last;               // bytes of a row; the last that may be read
    int64_t from, to;                // pairs of positions
    int64_t groups[2];               // of the halves of a block
    const uint8_t *next, *next_end;  // prefetched beside it
  };

  /// Words of two positions, in the lanes of their group.
  template <int G>
  __m256i spread(const Block& block, int j, int64_t t) const {
    const auto pair = [&](int half) {
      return _mm_loadu_si32(weights.words[block.groups[half]][j] + 2 * t);
    };
    if constexpr (G == 1) return _mm256_broadcastd_epi32(pair(0));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_broadcastd_epi32(pair(0))),
                                   _mm_broadcastd_epi32(pair(1)), 1);
  }

  template <int G>
  static __m256 spread_floats(const Block& block, const float* of) {
    const __m256 first = _mm256_broadcast_ss(of + block.groups[0]);
    if constexpr (G == 1) return first;
    return _mm256_blend_ps(first, _mm256_broadcast_ss(of + block.groups[1]), 0xf0);
  }

  /// Codes of two positions, a and b, in pairs. 4 bits: of half `pass` of the words; every second
  /// vector holds whole bytes, less whose low halves the high ones are.
  template <int bits, int pass>
  static void join(__m256i a, __m256i b, __m256i* codes) {
    const __m256i byte = _mm256_set1_epi16(255), low = _mm256_set1_epi16(15);
    if constexpr (bits == 4) {
      const __m256i words = pass == 0 ? _mm256_unpacklo_epi16(a, b) : _mm256_unpackhi_epi16(a, b);
      codes[3] = _mm256_srli_epi16(words, 8);
      codes[2] = _mm256_and_si256(codes[3], low);
      codes[1] = _mm256_and_si256(words, byte);
      codes[0] = _mm256_and_si256(words, low);
    } else {
      const __m256i x = _mm256_unpacklo_epi16(a, b), y = _mm256_unpackhi_epi16(a, b);
      codes[0] = _mm256_and_si256(x, byte), codes[1] = _mm256_srli_epi16(x, 8);
      codes[2] = _mm256_and_si256(y, byte), codes[3] = _mm256_srli_epi16(y, 8);
    }
  }

  /// Integers of the weighted sums: (Q, 4).
  template <int bits, int G, int Q, int pass>
  __attribute__((noinline)) void add(const Block& block, __m256i* sums) const {
    __m256i acc[4 * Q];
#pragma GCC unroll 8
    for (int i = 0; i < 4 * Q; ++i) acc[i] = _mm256_setzero_si256();
    for (int64_t t = block.from; t < block.to; ++t) {
      const uint8_t* const a = block.at + 2 * t * block.row;
      const uint8_t* const b = block.at + least(2 * t + 1, block.last) * block.row;
      const uint8_t* const next = block.next + 8 * bits * t;
      __builtin_prefetch(next < block.next_end ? next : block.next_end, 0, 3);
      __m256i codes[4];
      join<bits, pass>(_mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(a)),
                       _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(b)), codes);
#pragma GCC unroll 2
      for (int j = 0; j < Q; ++j) {
        const __m256i w = spread<G>(block, j, t);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) add_in_loop(codes[i], w, acc[4 * j + i]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < 4 * Q; ++i) sums[i] = acc[i];
  }

  /// The low halves of both, and the high ones.
  static void trade_halves(__m256& a, __m256& b) {
    const __m256 low = _mm256_insertf128_ps(a, _mm256_castps256_ps128(b), 1);
    b = _mm256_insertf128_ps(b, _mm256_extractf128_ps(a, 1), 0);
    a = low;
  }

  /// From vectors as join() leaves them to two steps of y's slots.
  template <int bits>
  static void to_slots(__m256* v) {
    __m256 even[2] = {v[0], v[2]}, odd[2] = {v[1], v[3]};
    if constexpr (bits == 4) {
      even[0] = _mm256_unpacklo_ps(v[0], v[2]), even[1] = _mm256_unpackhi_ps(v[0], v[2]);
      odd[0] = _mm256_unpacklo_ps(v[1], v[3]), odd[1] = _mm256_unpackhi_ps(v[1], v[3]);
    }
    trade_halves(even[0], even[1]);
    trade_halves(odd[0], odd[1]);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      v[2 * i] = even[i], v[2 * i + 1] = odd[i];
      if constexpr (type == DType::bf16) continue;
      v[2 * i] = _mm256_unpacklo_ps(even[i], odd[i]);
      v[2 * i + 1] = _mm256_unpackhi_ps(even[i], odd[i]);
      trade_halves(v[2 * i], v[2 * i + 1]);
    }
  }

  /// Weighted sums of query j from its integers.
  template <int bits, int G>
  void to_floats(const Block& block, int j, const __m256i* sums, __m256* to) const {
    const __m256 scale = spread_floats<G>(block, weights.scales[j]);
    const __m256 base = spread_floats<G>(block, weights.bases[j]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const bool high = bits == 4 && i % 2 == 1;  // taken sixteenfold, among whole bytes
      const __m256i sum = high ? _mm256_sub_epi32(sums[i], sums[i - 1]) : sums[i];
      const __m256 factor = high ? _mm256_mul_ps(scale, _mm256_set1_ps(0.0625f)) : scale;
      to[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), factor, base);
    }
  }

  /// Adds two vectors of a chunk's sums to what y is of query q.
  static void update(const Queries& all, int q, const __m256* sums, float* y) {
    const __m256 before = _mm256_broadcast_ss(all.before + q),
                 now = _mm256_broadcast_ss(all.now + q);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const __m256 old = _mm256_mul_ps(_mm256_loadu_ps(y + 8 * i), before);
      _mm256_storeu_ps(y + 8 * i, _mm256_fmadd_ps(sums[i], now, old));
    }
  }

  /// A block whose first element is `at`, of `dim` in all.
  template <int bits, int G, int Q, int pass>
  void add_block(Queries& all, int at_query, const Block& block, int64_t at, int64_t dim) const {
    constexpr int64_t kApart = bits == 4 ? 32 : 16;  // elements from one step to the other
    __m256i sums[4 * Q];
    add<bits, G, Q, pass>(block, sums);
    at += 16 * pass;
#pragma GCC unroll 2
    for (int j = 0; j < Q; ++j) {
      const int q = at_query + j;
      if (!all.sees(q)) continue;
      __m256 v[4];
      to_floats<bits, G>(block, j, sums + 4 * j, v);
      to_slots<bits>(v);
      update(all, q, v, all.y(q) + at);
      if (at + kApart < dim) update(all, q, v + 2, all.y(q) + at + kApart);
    }
  }

  template <int bits, int G, int Q>
  void add_passes(Queries& all, int at_query, Block& block, int64_t at, int64_t dim) const {
    add_block<bits, G, Q, 0>(all, at_query, block, at, dim);
    block.next += 4 * kChunk * bits;
    if constexpr (bits == 8) return;
    add_block<bits, G, Q, 1>(all, at_query, block, at, dim);
    block.next += 4 * kChunk * bits;
  }

  /// Adds the values of a chunk, of which positions [from, to) count, to queries [at_query,
  /// at_query + Q), whose weights are those of now.
  template <int bits, int Q>
  void gather(Queries& all, int at_query, const Chunk& chunk, int64_t from, int64_t to) const {
    constexpr int64_t kElements = 256 / bits;
    const Rows& v = chunk.v;
    const int64_t row = v.dim * bits / 8, positions = chunk.end - chunk.begin;
    alignas(32) uint8_t copy[32 * kChunk];
    Block block = {v.here.at,    row,    positions - 1, from / 2,
                   (to + 1) / 2, {0, 0}, v.next.at,     nullptr};
    block.next_end = block.next + most(chunk.after * row - 1, 0);
    for (int64_t i = 0; i < v.dim; i += kElements, block.at += 32) {
      block.groups[0] = i / v.group;
      block.groups[1] = least(i + kElements / 2, v.dim - 1) / v.group;
      if (i + kElements > v.dim) {
        for (int64_t j = from / 2 * 2; j < least(to + 1, positions); ++j)
          __builtin_memcpy(copy + 32 * j, block.at + j * row, 16);
        block.at = copy, block.row = 32;
      }
      if (bits == 8 || block.groups[0] == block.groups[1])
        add_passes<bits, 1, Q>(all, at_query, block, i, v.dim);
      else if constexpr (bits == 4)
        add_passes<bits, 2, Q>(all, at_query, block, i, v.dim);
    }
  }
};

}  // namespace
}  // namespace stepless::kernels
