// Scores of many queries at once: keys of a chunk are turned so that a vector holds one element of
// L positions, and every key that is read serves kTileQueries queries. The bits are those of the
// dots of attn_frame.hpp: lane l of a dot there is a chain of its own here, and chains are added in
// the order in which T::sums() adds lanes. T is that of attn_frame.hpp.
#pragma once
#include "kernels/cpu/any/attn_rows.hpp"
#include "kernels/cpu/any/vector_math.hpp"

namespace stepless::kernels {
namespace {

template <class T>
struct Tiles {
  static constexpr int L = T::L, Q = T::kTileQueries;
  using F = Floats<L>;

  /// Rows (L, width) of float32 to the L columns from `at` on of keys (width, kChunk): lane by lane
  /// in the order of addition, and within a lane element by element.
  __attribute__((noinline)) static void turn(const float* rows, int64_t width, int64_t at,
                                             float* keys) {
    const int64_t steps = width / L;
    for (int64_t s = 0; s < steps; ++s) {
      F v[L];
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) v[i] = load<L>(rows + i * width + s * L);
      T::turn(v);
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) store<L>(keys + (i * steps + s) * kChunk + at, v[T::lane_at(i)]);
    }
  }

  /// The same from rows of bf16, turned as pairs of an even and an odd element: half the shuffles.
  __attribute__((noinline)) static void turn_pairs(const uint8_t* rows, int64_t width, int64_t at,
                                                   float* keys) {
    using U = typename Lanes<L>::U;
    const int64_t steps = width / L;
    for (int64_t s = 0; s < steps; s += 2) {
      F v[L];
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i)
        __builtin_memcpy(&v[i], rows + (i * width + s * L) * 2, sizeof(F));
      T::turn(v);
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) {
        const U pair = __builtin_bit_cast(U, v[T::lane_at(i)]);
        float* const to = keys + (i * steps + s) * kChunk + at;
        store<L>(to, __builtin_bit_cast(F, pair << 16));
        store<L>(to + kChunk, __builtin_bit_cast(F, pair & 0xffff0000u));
      }
    }
  }

  /// acc (Q, V) = the sums over one lane of Q queries, in vectors of positions.
  template <int V>
  __attribute__((always_inline)) static void add_lane(const float* query, int64_t q_stride,
                                                      const float* keys, int64_t steps, F* acc) {
#pragma GCC unroll 16
    for (int i = 0; i < Q * V; ++i) acc[i] = F{};
    for (int64_t s = 0; s < steps; ++s, query += L, keys += kChunk) {
      F k[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) k[v] = load<L>(keys + v * L);
#pragma GCC unroll 8
      for (int i = 0; i < Q; ++i) {
        const F x = splat<L>(query[i * q_stride]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) acc[i * V + v] = T::fma(k[v], x, acc[i * V + v]);
      }
    }
  }

  template <int count>
  __attribute__((always_inline)) static void add_all(const F* parts, F* acc) {
#pragma GCC unroll 16
    for (int i = 0; i < count; ++i) acc[i] = parts[i] + acc[i];
  }

  /// Scores of Q queries (Q, q_stride) and V vectors of positions; to: (Q, stride). Lanes two by
  /// two: what the first sums is kept in registers where there are enough. As memory the stores
  /// alone take 60 cycles of 1220 a tile of four times four vectors, dim 128, on AVX-512.
  template <int V>
  __attribute__((noinline)) static void scores(const float* q, int64_t q_stride, const float* keys,
                                               int64_t steps, float* to, int64_t stride) {
    F parts[kLevels][Q * V];
    for (int pair = 0; pair < L / 2; ++pair, keys += 2 * steps * kChunk) {
      F one[Q * V], two[Q * V];
      add_lane<V>(q + T::lane_at(2 * pair), q_stride, keys, steps, one);
      add_lane<V>(q + T::lane_at(2 * pair + 1), q_stride, keys + steps * kChunk, steps, two);
      add_all<Q * V>(one, two);
      int level = 0;
      for (; (pair >> level & 1) != 0; ++level) add_all<Q * V>(parts[level], two);
      if (pair + 1 < L / 2) {
#pragma GCC unroll 16
        for (int i = 0; i < Q * V; ++i) parts[level][i] = two[i];
      } else {
#pragma GCC unroll 8
        for (int i = 0; i < Q; ++i)
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) store<L>(to + i * stride + v * L, two[i * V + v]);
      }
    }
  }

  /// The same for positions [begin, end) of the chunk, rounded to whole tiles.
  static void all_scores(const float* q, int64_t q_stride, const float* keys, int64_t width,
                         int64_t begin, int64_t end, float* to, int64_t stride) {
    constexpr int V = T::kTileVectors;
    const int64_t steps = width / L;
    for (int64_t at = begin / L * L; at < end;) {
      if (end - at > (V - 1) * L && at + V * L <= kChunk) {
        scores<V>(q, q_stride, keys + at, steps, to + at, stride);
        at += V * L;
      } else if (V == 4 && end - at > V / 2 * L) {
        scores<3>(q, q_stride, keys + at, steps, to + at, stride);
        at += 3 * L;
      } else if (V == 4 && end - at > L) {
        scores<2>(q, q_stride, keys + at, steps, to + at, stride);
        at += 2 * L;
      } else {
        scores<1>(q, q_stride, keys + at, steps, to + at, stride);
        at += L;
      }
    }
  }

 private:
  static constexpr int kLevels = L == 16 ? 3 : L == 8 ? 2 : 1;
};

}  // namespace
}  // namespace stepless::kernels
