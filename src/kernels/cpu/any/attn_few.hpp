// Dots of a few queries with the keys of a chunk, read as they lie, and sums of its values, for
// attention on any vector width. T is that of attn_frame.hpp.
#pragma once
#include "kernels/cpu/any/attn_queries.hpp"
#include "kernels/cpu/any/attn_rows.hpp"

namespace stepless::kernels {
namespace {

/// Positions [begin, end) of a page.
struct alignas(64) Chunk {
  int64_t begin, end;
  Rows k, v;
  int64_t high = 0;   // positions of it up to the last that a query sees
  int64_t after = 0;  // positions that are read next
  // The first of those are prefetched already. Where less are left than the chunk has positions,
  // some of what is read after the next ones are prefetched, too: before the short end of a context
  // there is time, and during it there is none.
  int64_t skip = 0;
  const uint8_t *later_k = nullptr, *later_v = nullptr;
  int64_t more = 0, fetched = 0;  // positions of those, and how many of them were prefetched
};

/// Memory that is read next, prefetched a piece at a time beside other work.
struct Ahead {
  const uint8_t *at = nullptr, *end = nullptr;
  int64_t lines = 0;

  void fetch() {
    for (int64_t i = 0; i < lines && at < end; ++i, at += 64) __builtin_prefetch(at, 0, 2);
  }
};

/// Calls visit<Q>(first query): four queries at a time, then two, then one.
template <class Visit>
void by_fours(const Queries& all, Visit visit) {
  int q = 0;
  for (; q + 4 <= all.count; q += 4) visit.template operator()<4>(q);
  if (q + 2 <= all.count) visit.template operator()<2>(q), q += 2;
  if (q < all.count) visit.template operator()<1>(q);
}

template <class T, DType type, From from>
struct Few {
  static constexpr int L = T::L;
  using F = Floats<L>;
  using Read = Reader<T, type, from>;
  static constexpr int64_t kStep = 2 * L;

  /// To the second cache, line after line: what lies in the first is read now. One core reads 13.6
  /// GB/s so; 13.3 in the order of the dots, 12.9 to the first cache (4096 positions, cold;
  /// Sapphire Rapids, AVX-512, read ceiling 16.7).
  static void fetch(const uint8_t* at) {
    if constexpr (from != From::decoded) __builtin_prefetch(at, 0, 2);
  }

  /// Where to prefetch beside a row so many bytes from the chunk's first: of what is read next,
  /// then of what is read later.
  struct Upcoming {
    const uint8_t *next, *later, *last, *last_later;  // beside the first row; the last ones
    int64_t turn;                                     // from there on later ones

    Upcoming(const Rows& rows, const Chunk& chunk, const uint8_t* later_at, int64_t count) {
      const int64_t row = Read::bytes(rows.dim);
      turn = (chunk.after - chunk.skip) * row;
      next = later = rows.next.at + chunk.skip * row;
      last = last_later = rows.next.at + most(chunk.after - count, 0) * row;
      if (chunk.more == 0) return;
      later = later_at - turn;
      last_later = later_at + most(chunk.more - count, 0) * row;
    }
    const uint8_t* at(int64_t offset) const {
      const uint8_t* const then = (offset < turn ? next : later) + offset;
      const uint8_t* const end = offset < turn ? last : last_later;
      return then < end ? then : end;
    }
  };

  /// What is read next of `rows` and has no counterpart in the chunk.
  __attribute__((always_inline)) static void fetch_rest(const Rows& rows, const Chunk& chunk) {
    const uint8_t* const end = rows.next.at + Read::bytes(chunk.after * rows.dim);
    const uint8_t* at = rows.next.at + Read::bytes((chunk.skip + chunk.high) * rows.dim);
    for (; at < end; at += 64) __builtin_prefetch(at, 0, 2);
  }

  template <int Q>
  static void add_products(F a, F b, const float* const* q, int64_t i, F* sums, int step) {
#pragma GCC unroll 4
    for (int j = 0; j < Q; ++j) {
      F& sum = sums[j * step];
      sum = T::fma(a, load<L>(q[j] + i), sum);
      sum = T::fma(b, load<L>(q[j] + i + L), sum);
    }
  }

  /// Scores of positions [begin, end) of the chunk, kDots / Q at a time. The last group repeats the
  /// last position.
  template <int Q>
  __attribute__((noinline)) static void scores(Queries& all, int at_query, const Chunk& chunk,
                                               int64_t begin, int64_t end) {
    constexpr int P = T::kDots / Q;
    const Rows& keys = chunk.k;
    const int64_t whole = keys.dim / kStep * kStep;
    const Upcoming upcoming(keys, chunk, chunk.later_k, P);
    const float* queries[Q];
    for (int q = 0; q < Q; ++q) queries[q] = all.q(at_query + q);
    for (int64_t at = begin; at < end; at += P) {
      Row k[P];
      for (int p = 0; p < P; ++p) k[p] = Read::row(keys, least(at + p, end - 1));
      const uint8_t* const next = upcoming.at(k[0].at - keys.here.at);
      F acc[T::kDots];
#pragma GCC unroll 16
      for (int i = 0; i < T::kDots; ++i) acc[i] = F{};
      for (int64_t i = 0; i < whole; i += kStep) {
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) {
          F a, b;
          Read::load2(keys, k[p], i, a, b);
          fetch(next + Read::bytes(i * P + p * kStep));
          add_products<Q>(a, b, queries, i, acc + p, P);
        }
      }
      if (whole < keys.dim) {
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) {
          F a, b;
          Read::load2_part(keys, k[p], whole, a, b);
          add_products<Q>(a, b, queries, whole, acc + p, P);
        }
      }
      float sums[T::kDots];
      T::sums(acc, sums);
      for (int q = 0; q < Q; ++q)
        __builtin_memcpy(all.score(at_query + q) + at, sums + q * P, P * sizeof(float));
    }
  }

  /// y = y * before + now * (the sum of weight * v over positions [begin, end)), for W * 2 L
  /// elements of v_dim from `at` (the last W may be partial).
  template <int Q, int W>
  __attribute__((noinline)) static void values(Queries& all, int at_query, const Chunk& chunk,
                                               int64_t begin, int64_t end, int64_t at) {
    const Rows& rows = chunk.v;
    const Upcoming upcoming(rows, chunk, chunk.later_v, 1);
    const float* weights[Q];
    for (int q = 0; q < Q; ++q) weights[q] = all.score(at_query + q);
    F acc[Q * W * 2];
#pragma GCC unroll 32
    for (int i = 0; i < Q * W * 2; ++i) acc[i] = F{};
    Row v = Read::row(rows, begin);
    const Row one = Read::row(rows, 0), two = Read::row(rows, 1);
    for (int64_t j = begin; j < end; ++j) {
      const uint8_t* const next = upcoming.at(v.at - rows.here.at);
#pragma GCC unroll 8
      for (int w = 0; w < W; ++w) {
        F a, b;
        if (W == 1)
          Read::load2_part(rows, v, at, a, b);
        else
          Read::load2(rows, v, at + w * kStep, a, b);
        fetch(next + Read::bytes(at + w * kStep));
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) {
          const F weight = splat<L>(weights[q][j]);
          acc[(q * W + w) * 2] = T::fma(weight, a, acc[(q * W + w) * 2]);
          acc[(q * W + w) * 2 + 1] = T::fma(weight, b, acc[(q * W + w) * 2 + 1]);
        }
      }
      v.at += two.at - one.at, v.scale += two.scale - one.scale, v.bias += two.bias - one.bias;
    }
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) {
      float* const y = all.y(at_query + q) + at;
      const F before = splat<L>(all.before[at_query + q]), now = splat<L>(all.now[at_query + q]);
      if (from == From::decoded && all.chunks[at_query + q] == 1) {
#pragma GCC unroll 16
        for (int i = 0; i < 2 * W; ++i) store<L>(y + i * L, T::fma(acc[q * W * 2 + i], now, F{}));
        continue;
      }
#pragma GCC unroll 16
      for (int i = 0; i < 2 * W; ++i)
        store<L>(y + i * L, T::fma(acc[q * W * 2 + i], now, load<L>(y + i * L) * before));
    }
  }

  /// Elements [at, stop) of the values, all that the first of Q queries sees.
  template <int Q>
  static void all_values(Queries& all, int at_query, const Chunk& chunk, int64_t at, int64_t stop) {
    constexpr int W = T::template width<Q>();
    const int64_t begin = all.begin[at_query], end = all.end[at_query];
    for (; at + W * kStep <= stop; at += W * kStep)
      values<Q, W>(all, at_query, chunk, begin, end, at);
    for (; at < stop; at += kStep) values<Q, 1>(all, at_query, chunk, begin, end, at);
  }

  /// Weights of queries [at_query, at_query + Q).
  template <int Q>
  static void weigh(const AttnArgs& args, Queries& all, int at_query, const Chunk& chunk) {
    int64_t low, high;
    if (!all.seen_by(at_query, Q, low, high)) return;
    scores<Q>(all, at_query, chunk, low, high);
    soften<T, Q>(args, all, at_query, low, high);
  }

  template <int Q>
  static bool see_the_same(const Queries& all, int at_query) {
    bool same = all.sees(at_query);
    for (int q = at_query + 1; q < at_query + Q; ++q)
      same = same && all.begin[q] == all.begin[at_query] && all.end[q] == all.end[at_query];
    return same;
  }

  /// Adds the chunk's values to queries [at_query, at_query + Q).
  template <int Q>
  static void gather(Queries& all, int at_query, const Chunk& chunk) {
    if (see_the_same<Q>(all, at_query)) {
      all_values<Q>(all, at_query, chunk, 0, chunk.v.dim);
    } else if constexpr (Q > 1) {
      gather<Q / 2>(all, at_query, chunk);
      gather<Q / 2>(all, at_query + Q / 2, chunk);
    }
  }

  static void weigh_all(const AttnArgs& args, Queries& all, const Chunk& chunk) {
    by_fours(all, [&]<int Q>(int q) { weigh<Q>(args, all, q, chunk); });
    fetch_rest(chunk.k, chunk);
    weigh_chunk<T>(all);
  }

  static void gather_all(Queries& all, const Chunk& chunk) {
    by_fours(all, [&]<int Q>(int q) { gather<Q>(all, q, chunk); });
    fetch_rest(chunk.v, chunk);
  }

  /// As gather_all(), some elements of the values after the other: they stay in the first cache
  /// while all queries read them. 128 floats of sixteen lanes' are 32 KiB: half of that takes 0.6 %
  /// more of a prompt's time where the cache has 48 (Emerald Rapids).
  static void gather_panels(Queries& all, const Chunk& chunk, Ahead next) {
    constexpr int64_t kPanel = (L == 16 ? 2 : 1) * T::template width<4>() * kStep;
    const int fours = all.count / 4 * 4;
    for (int64_t at = 0; at < chunk.v.dim; at += kPanel)
      for (int q = 0; q < fours; q += 4) {
        next.fetch();
        if (all.alike || see_the_same<4>(all, q))
          all_values<4>(all, q, chunk, at, least(at + kPanel, chunk.v.dim));
        else if (at == 0)
          gather<4>(all, q, chunk);
      }
    if (all.count - fours >= 2) gather<2>(all, fours, chunk);
    if (all.count % 2 != 0) gather<1>(all, all.count - 1, chunk);
  }
};

}  // namespace
}  // namespace stepless::kernels
