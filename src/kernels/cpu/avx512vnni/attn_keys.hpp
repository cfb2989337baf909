// Scores of a few queries with packed keys by VPDPBUSD: attn_planes.hpp.
#pragma once
#include "kernels/cpu/any/attn_few.hpp"
#include "kernels/cpu/avx512vnni/attn_groups.hpp"
#include "kernels/cpu/avx512vnni/products.hpp"

namespace stepless::kernels {
namespace {

/// The planes of a query, for every 16 bytes of codes: 16 bytes of its high plane, 16 of its low
/// one; with 4 bits those of the even elements, then those of the odd ones.
struct QueryPlanes {
  alignas(64) uint8_t bytes[2 * kPool];
  float scales[kMostQueries * kMostGroups];  // of a group: from integers
  float sums[kMostQueries * kMostGroups];    // of its elements, as rounded
};

template <class T, DType type>
struct KeyPlanes {
  QueryPlanes queries;
  GroupRows<type> groups;
  Stream stream;

  // ---- queries ----

  static __m128i high_bytes(__m512i words) {
    return _mm512_cvtepi32_epi8(
        _mm512_srai_epi32(_mm512_add_epi32(words, _mm512_set1_epi32(128)), 8));
  }

  static void store16(uint8_t* to, __m128i bytes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
  }

  /// One plane of 32 elements from its slots; `to` is 32 bytes further for the other half.
  template <int bits>
  static void store_plane(__m128i a, __m128i b, uint8_t* to) {
    constexpr bool kApart = type == DType::bf16;  // slots are even elements, then odd ones
    if constexpr (kApart == (bits == 4)) {
      store16(to, a);
      store16(to + 32, b);
    } else if constexpr (kApart) {
      store16(to, _mm_unpacklo_epi8(a, b));
      store16(to + 32, _mm_unpackhi_epi8(a, b));
    } else {
      const __m128i low = _mm_set1_epi16(255);
      store16(to, _mm_packus_epi16(_mm_and_si128(a, low), _mm_and_si128(b, low)));
      store16(to + 32, _mm_packus_epi16(_mm_srli_epi16(a, 8), _mm_srli_epi16(b, 8)));
    }
  }

  template <int bits>
  void take_groups(int i, int64_t stride, const float* slots, int64_t dim, int64_t group) {
    uint8_t* to = queries.bytes + 2 * stride * i;
    float* const scales = queries.scales + i * kMostGroups;
    float* const sums = queries.sums + i * kMostGroups;
    for (int64_t g = 0; g < dim / group; ++g) {
      __m512 most = _mm512_setzero_ps();
      for (int64_t j = 0; j < group; j += 16)
        most = _mm512_castsi512_ps(
            _mm512_max_epu32(_mm512_castps_si512(most),
                             _mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(slots + j)),
                                              _mm512_set1_epi32(INT32_MAX))));
      const GroupScale scale = word_scale(largest_bits(most));
      const __m512 factor = _mm512_set1_ps(scale.to_integers);
      __m512i sum = _mm512_setzero_si512();
      for (int64_t j = 0; j < group; j += 32, slots += 32, to += 64) {
        const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(slots), factor));
        const __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(slots + 16), factor));
        sum = _mm512_add_epi32(sum, _mm512_add_epi32(a, b));
        store_plane<bits>(high_bytes(a), high_bytes(b), to);
        store_plane<bits>(_mm512_cvtepi32_epi8(a), _mm512_cvtepi32_epi8(b), to + 16);
      }
      scales[g] = scale.from_integers;
      sums[g] = static_cast<float>(_mm512_reduce_add_epi32(sum)) * scale.from_integers;
    }
  }

  /// Makes planes of query i, whose slots are float32.
  void take(const KvLayer& cache, Queries& all, int i) {
    const int64_t dim = cache.k_dim, group = cache.packed.group_size;
    if (cache.packed.bits == 4) return take_groups<4>(i, all.stride, all.q(i), dim, group);
    take_groups<8>(i, all.stride, all.q(i), dim, group);
  }

  // ---- scores ----

  static __m128i sixteen(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i_u*>(p));
  }
  static __m512i two_rows(const uint8_t* a, const uint8_t* b) {
    const auto load = [](const uint8_t* p) {
      return _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(p));
    };
    return _mm512_inserti64x4(_mm512_castsi256_si512(load(a)), load(b), 1);
  }

  /// 32 bytes of sixteen positions: a[i] of the first 16, b[i] of the others.
  static void load_pieces(const uint8_t* at, int64_t row, __m512i* a, __m512i* b) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m512i x = two_rows(at + i * row, at + (i + 4) * row);
      const __m512i y = two_rows(at + (i + 8) * row, at + (i + 12) * row);
      a[i] = _mm512_shuffle_i64x2(x, y, 0x88);
      b[i] = _mm512_shuffle_i64x2(x, y, 0xdd);
    }
  }

  static void load_piece(const uint8_t* at, int64_t row, __m512i* to) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      __m512i x = _mm512_castsi128_si512(sixteen(at + i * row));
      x = _mm512_inserti32x4(x, sixteen(at + (i + 4) * row), 1);
      x = _mm512_inserti32x4(x, sixteen(at + (i + 8) * row), 2);
      to[i] = _mm512_inserti32x4(x, sixteen(at + (i + 12) * row), 3);
    }
  }

  /// Four vectors of pairs of codes: of the low ones, four more of the high ones.
  static void split_pairs(__m512i* v) {
    const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      v[4 + i] = _mm512_and_si512(_mm512_srli_epi16(v[i], 4), low);
      v[i] = _mm512_and_si512(v[i], low);
    }
  }

  /// Codes of 32 elements of sixteen positions, four vectors for every sixteen.
  template <int bits>
  static void load_codes(const uint8_t* at, int64_t row, __m512i* codes) {
    if constexpr (bits == 8) {
      load_pieces(at, row, codes, codes + 4);
    } else {
      load_piece(at, row, codes);
      split_pairs(codes);
    }
  }

  static __m512i four_times(const uint8_t* from) { return _mm512_broadcast_i32x4(sixteen(from)); }

  /// Adds the products with both planes of Q queries, `stride` bytes apart, to (planes, Q, 4):
  /// VPDPBUSD takes six cycles, so it needs a dozen sums to be busy.
  template <int Q, int kPieces>
  static void multiply(const __m512i* codes, const uint8_t* q, int64_t stride, __m512i* sums) {
#pragma GCC unroll 2
    for (int piece = 0; piece < kPieces; ++piece)
#pragma GCC unroll 4
      for (int j = 0; j < Q; ++j)
#pragma GCC unroll 2
        for (int plane = 0; plane < 2; ++plane) {
          const __m512i x = four_times(q + stride * j + 32 * piece + 16 * plane);
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i)
            add_products(sums[4 * (plane * Q + j) + i], codes[4 * piece + i], x);
        }
  }

  /// The sums of quarters of four vectors: lane 4 p + i is that of quarter p of v[i].
  static __m512i quarter_sums(const __m512i* v) {
    const __m512i ab =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    const __m512i cd =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  }

  /// The same of 256 h + l, for sums of 16 bits.
  static __m512i narrow_sums(const __m512i* h, const __m512i* l) {
    const __m512i high = _mm512_set1_epi16(256), low = _mm512_set1_epi16(1);
    const auto pair = [&](int i) {
      const __m512i sums = _mm512_madd_epi16(_mm512_packs_epi32(h[i], h[i + 1]), high);
      return _mm512_castsi512_ps(
          _mm512_dpwssd_epi32(sums, _mm512_packs_epi32(l[i], l[i + 1]), low));
    };
    const __m512 ab = pair(0), cd = pair(2);
    return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(ab, cd, 0x88)),
                            _mm512_castps_si512(_mm512_shuffle_ps(ab, cd, 0xdd)));
  }

  /// Those of 256 h + l. Codes of 4 bits and half of a group of 64 in every lane, or less, make
  /// sums of 16 bits: 15 * 128 * 16 at most.
  template <int bits>
  static __m512i plane_sums(const __m512i* h, const __m512i* l, int64_t group) {
    if (bits == 4 && group <= 64) return narrow_sums(h, l);
    __m512i both[4];
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) both[p] = _mm512_add_epi32(_mm512_slli_epi32(h[p], 8), l[p]);
    return quarter_sums(both);
  }

  /// Scores of query q at sixteen positions from `at` on, and what group g adds to them.
  __m512 add_group(int q, int64_t g, int64_t at, __m512i sums, __m512 score) const {
    const __m512 scale = _mm512_load_ps(groups.scales + g * kChunk + at);
    const __m512 bias = _mm512_load_ps(groups.biases + g * kChunk + at);
    const int64_t place = q * kMostGroups + g;
    const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(queries.scales[place]));
    score = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), factor, score);
    return _mm512_fmadd_ps(bias, _mm512_set1_ps(queries.sums[place]), score);
  }

  /// `bytes` of rows that are read next, from the second cache.
  template <int bytes>
  __attribute__((always_inline)) static void ask_for(const uint8_t* at) {
#pragma GCC unroll 16
    for (int i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, 0, 3);
  }

  /// Scores of sixteen positions, from `at` on, whose rows lie at `rows`; kElements is the group or
  /// a part of it.
  template <int bits, int Q, int kElements>
  __attribute__((noinline)) void scores16(Queries& all, int at_query, const Chunk& chunk,
                                          const uint8_t* rows, const uint8_t* near, int64_t at) {
    const Rows& k = chunk.k;
    const int64_t row = k.dim * bits / 8;
    const uint8_t* q = queries.bytes + 2 * all.stride * at_query;
    __m512 score[Q];
#pragma GCC unroll 4
    for (int j = 0; j < Q; ++j) score[j] = _mm512_setzero_ps();
    int64_t g = 0;
    for (int64_t i = 0; i < k.dim; ++g) {
      __m512i sums[8 * Q];
#pragma GCC unroll 32
      for (int j = 0; j < 8 * Q; ++j) sums[j] = _mm512_setzero_si512();
      Stream::fetch_groups(chunk, at / 16 * (k.dim / k.group) + g);
      for (const int64_t end = i + k.group; i < end; i += kElements, q += 2 * kElements) {
        const uint8_t* const at_codes = rows + i * bits / 8;
        __m512i codes[8], more[8];
        stream.template fetch<Pace<bits>::kScores>();
        ask_for<2 * bits * kElements>(near + 2 * i * bits);
        if constexpr (kElements == 32) {
          load_codes<bits>(at_codes, row, codes);
        } else {
          load_pieces(at_codes, row, codes, more);
          split_pairs(codes);
        }
        multiply<Q, 2>(codes, q, 2 * all.stride, sums);
        if constexpr (kElements == 64) {
          split_pairs(more);
          multiply<Q, 2>(more, q + 64, 2 * all.stride, sums);
        }
      }
#pragma GCC unroll 4
      for (int j = 0; j < Q; ++j)
        score[j] = add_group(at_query + j, g, at,
                             plane_sums<bits>(sums + 4 * j, sums + 4 * (Q + j), k.group), score[j]);
    }
#pragma GCC unroll 4
    for (int j = 0; j < Q; ++j) _mm512_store_ps(all.score(at_query + j) + at, score[j]);
  }

  /// Sixteen rows from `at` on, or a copy of those that there are.
  template <int bits>
  static const uint8_t* whole_rows(const Rows& rows, int64_t at, int64_t positions, uint8_t* copy) {
    const int64_t row = rows.dim * bits / 8;
    const uint8_t* const from = rows.here.at + at * row;
    if (at + 16 <= positions) return from;
    __builtin_memcpy(copy, from, static_cast<size_t>((positions - at) * row));
    return copy;
  }

  /// Scores of queries [at_query, at_query + Q).
  template <int bits, int Q>
  void scores(Queries& all, int at_query, const Chunk& chunk) {
    int64_t low, high;
    if (!all.seen_by(at_query, Q, low, high)) return;
    alignas(64) uint8_t copy[16 * kMaxHeadDim];
    for (int64_t at = low / 16 * 16; at < high; at += 16) {
      const uint8_t* const rows = whole_rows<bits>(chunk.k, at, chunk.end - chunk.begin, copy);
      // The next ones, to the first cache; of the last those that are there.
      const uint8_t* const near = at + 16 < high ? rows + chunk.k.dim * bits * 2 : rows;
      if (bits == 8 || chunk.k.group == 32)
        scores16<bits, Q, 32>(all, at_query, chunk, rows, near, at);
      else
        scores16<bits, Q, 64>(all, at_query, chunk, rows, near, at);
    }
  }
};

}  // namespace
}  // namespace stepless::kernels
