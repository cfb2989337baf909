// Queries that walk a cache together, and the softmax of their scores, for attention on any vector
// width. T is that of attn_frame.hpp. Everything of a query is computed from its own rows alone.
#pragma once
#include "kernels/cpu/any/attn_rows.hpp"
#include "kernels/cpu/any/vector_math.hpp"

namespace stepless::kernels {
namespace {

/// Twice as many read and turn each chunk half as often: 3 % of a prompt's time at 4096 positions,
/// 2 % at 512 (128 and 256 queries; Emerald Rapids, AVX-512).
constexpr int kMostQueries = 256;
/// Floats of all queries, and of their results: 256 of 128 elements, 35 of kMaxHeadDim.
constexpr int64_t kPool = kMostQueries * (128 + 16);
constexpr int64_t kScoreRow = kChunk + 16;

/// Queries of one KV head and one sequence that read the same pages in the same form.
struct Queries {
  int count, most;
  int64_t stride;  // floats between rows of q and y, no power of two: else rows meet in a few sets
  int64_t kv_head;
  SeqRow seq;  // of the first of them
  int64_t row[kMostQueries], head[kMostQueries];
  int64_t first[kMostQueries], resume[kMostQueries],
      last[kMostQueries];      // positions seen: first .. last, inclusive
  int64_t all_from, all_to;    // positions that all see lie in [all_from, all_to)
  float peak[kMostQueries];    // largest score so far, times T::kExpUnit like all of a chunk
  double total[kMostQueries];  // sum of e^(score - peak)
  // Of one chunk: what all see of it together, whether that is what each sees,
  int64_t least_begin, most_end;
  bool alike;
  // what each sees (nothing: kChunk and 0),
  int64_t begin[kMostQueries], end[kMostQueries];
  float top[kMostQueries + 4], sum[kMostQueries + 4];  // the peak of its scores, the sum of weights
  float before[kMostQueries], now[kMostQueries];  // what becomes of y, what the chunk counts for
  int32_t chunks[kMostQueries];  // seen so far with this one; at the first y holds nothing yet
  alignas(64) float q_rows[kPool];
  alignas(64) float y_rows[kPool];                     // sum of e^(score - peak) * v
  alignas(64) float scores[kMostQueries * kScoreRow];  // of one chunk; then its weights

  float* q(int i) { return q_rows + i * stride; }
  float* y(int i) { return y_rows + i * stride; }
  float* score(int i) { return scores + i * kScoreRow; }
  bool sees(int i) const { return begin[i] < end[i]; }

  /// What `number` queries from `at` on see of the chunk, together; false: nothing.
  bool seen_by(int at, int number, int64_t& low, int64_t& high) const {
    low = kChunk, high = 0;
    for (int i = at; i < at + number; ++i) {
      low = least(low, begin[i]);
      high = ::stepless::kernels::most(high, end[i]);
    }
    return low < high;
  }

  /// Room for heads of so many floats; no query yet.
  void make_room(int64_t floats) {
    count = 0;
    stride = floats + 16;
    most = static_cast<int>(least(kMostQueries, kPool / stride / 4 * 4));
  }
};

/// Makes a query's scores -infinity in [from, to) outside of what it sees of the chunk.
template <class T>
void hide_unseen(Queries& all, int i, int64_t from, int64_t to) {
  constexpr int L = T::L;
  using I = typename Lanes<L>::I;
  if (all.begin[i] <= from && all.end[i] >= to) return;
  float* const score = all.score(i);
  const I begin = static_cast<int32_t>(all.begin[i]) - I{};
  const I end = static_cast<int32_t>(all.end[i]) - I{};
  I at = static_cast<int32_t>(from) - I{};
  for (int l = 0; l < L; ++l) at[l] += l;
  for (int64_t j = from; j < to; j += L, at += L) {
    if (all.begin[i] <= j && all.end[i] >= j + L) continue;
    const Floats<L> s = load<L>(score + j), low = splat<L>(-__builtin_inff());
    const Floats<L> late = at < end ? s : low;
    store<L>(score + j, at >= begin ? late : low);
  }
}

/// Calls of T::largest() or T::total(), for four vectors in step where T can: a third of the
/// instructions. Then four numbers are written, also of fewer queries: what reads them all at once
/// would wait until numbers written one by one have left the core.
template <class T, int Q>
void largest_of(const Floats<T::L>* v, float* to) {
  if constexpr (requires { T::largest_of_four(v, to); }) {
    const Floats<T::L> all[4] = {v[0], v[Q > 1 ? 1 : 0], v[Q > 2 ? 2 : 0], v[Q > 3 ? 3 : 0]};
    return T::largest_of_four(all, to);
  } else {
    for (int q = 0; q < Q; ++q) to[q] = T::largest(v[q]);
  }
}
template <class T, int Q>
void total_of(const Floats<T::L>* v, float* to) {
  if constexpr (requires { T::total_of_four(v, to); }) {
    const Floats<T::L> all[4] = {v[0], v[Q > 1 ? 1 : 0], v[Q > 2 ? 2 : 0], v[Q > 3 ? 3 : 0]};
    return T::total_of_four(all, to);
  } else {
    for (int q = 0; q < Q; ++q) to[q] = T::total(v[q]);
  }
}

/// The numbers of L queries, or of four where there are no more and they were written so.
template <class T>
Floats<T::L> load_queries(const float* from, int count) {
  if constexpr (requires { T::load_four(from); })
    if (count <= 4) return T::load_four(from);
  return load<T::L>(from);
}

/// Scales the scores of Q queries, computed for positions [begin, end) of the chunk, hides what a
/// query does not see and sets all.top.
template <class T, int Q>
void find_tops(const AttnArgs& args, Queries& all, int at_query, int64_t begin, int64_t end) {
  constexpr int L = T::L;
  using F = Floats<L>;
  float* const score = all.score(at_query);
  const int64_t from = begin / L * L, to = (end + L - 1) / L * L;
  float scale = args.scale * T::kExpUnit;
  if (args.softcap != 0.0f) {
    for (int q = 0; q < Q; ++q)
      for (int64_t j = from; j < to; j += L) {
        const F s = load<L>(score + q * kScoreRow + j) * args.scale;
        store<L>(score + q * kScoreRow + j, tanh_of<L>(s / args.softcap));
      }
    scale = args.softcap * T::kExpUnit;
  }
  F top[Q];
#pragma GCC unroll 4
  for (int q = 0; q < Q; ++q) {
    hide_unseen<T>(all, at_query + q, from, to);
    top[q] = splat<L>(-__builtin_inff());
  }
  for (int64_t j = from; j < to; j += L)
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) {
      float* const at = score + q * kScoreRow + j;
      const F s = load<L>(at) * scale;
      store<L>(at, s);
      top[q] = T::larger(s, top[q]);
    }
  largest_of<T, Q>(top, all.top + at_query);
}

/// T::exp() of N vectors, in step where T can.
template <class T, int N>
__attribute__((always_inline)) inline void exp_all(Floats<T::L>* v) {
  if constexpr (requires { T::kExpsInStep; }) return T::template exp_in_step<N>(v);
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) v[i] = T::exp(v[i]);
}

/// Weights of Q queries at J vectors of positions from j on, added to their sums.
template <class T, int Q, int J>
__attribute__((always_inline)) inline void weigh_vectors(float* score, const Floats<T::L>* top,
                                                         Floats<T::L>* sum) {
  constexpr int L = T::L;
  Floats<L> weights[Q * J];
#pragma GCC unroll 4
  for (int i = 0; i < Q * J; ++i)
    weights[i] = load<L>(score + i / J * kScoreRow + i % J * L) - top[i / J];
  exp_all<T, Q * J>(weights);
#pragma GCC unroll 4
  for (int i = 0; i < Q * J; ++i) {
    store<L>(score + i / J * kScoreRow + i % J * L, weights[i]);
    sum[i / J] = sum[i / J] + weights[i];
  }
}

/// Turns the scores into weights e^((score - all.top) / T::kExpUnit) and sets all.sum. In
/// step, as the exponential of one query waits for the last: 139 cycles a query one after the
/// other, 60 so (AVX-512, exponentials of before; eight vectors in step by hand: no faster).
template <class T, int Q>
void weigh_scores(Queries& all, int at_query, int64_t begin, int64_t end) {
  constexpr int L = T::L;
  using F = Floats<L>;
  float* const score = all.score(at_query);
  const int64_t to = (end + L - 1) / L * L;
  int64_t j = begin / L * L;
  F top[Q], sum[Q];
#pragma GCC unroll 4
  for (int q = 0; q < Q; ++q) top[q] = splat<L>(all.top[at_query + q]), sum[q] = F{};
  if constexpr (requires { T::kExpsInStep; }) {
    constexpr int J = T::kExpsInStep / Q;
    for (; j + J * L <= to; j += J * L) weigh_vectors<T, Q, J>(score + j, top, sum);
  }
  for (; j < to; j += L) weigh_vectors<T, Q, 1>(score + j, top, sum);
  total_of<T, Q>(sum, all.sum + at_query);
}

/// Both, one after the other.
template <class T, int Q>
void soften(const AttnArgs& args, Queries& all, int at_query, int64_t begin, int64_t end) {
  find_tops<T, Q>(args, all, at_query, begin, end);
  weigh_scores<T, Q>(all, at_query, begin, end);
}

/// From the chunk's peaks: by what each query's sums are multiplied, and what the chunk counts for.
template <class T>
void weigh_chunk(Queries& all) {
  constexpr int L = T::L;
  using F = Floats<L>;
  alignas(64) float higher[kMostQueries];
  for (int i = 0; i < all.count; i += L) {
    const F peak = load<L>(all.peak + i), top = load_queries<T>(all.top + i, all.count);
    // A chunk of NaN has no peak: infinity less infinity would be another NaN beside them, and
    // which of the two a product keeps is the compiler's choice.
    const F most = T::larger(T::larger(peak, top), splat<L>(-3.4e38f));
    store<L>(higher + i, most);
    F powers[2] = {peak - most, top - most};
    exp_all<T, 2>(powers);
    store<L>(all.before + i, powers[0]);
    store<L>(all.now + i, powers[1]);
  }
  alignas(64) double total[kMostQueries];
  for (int q = 0; q < all.count; ++q)
    total[q] = all.total[q] * static_cast<double>(all.before[q]) +
               static_cast<double>(all.sum[q]) * static_cast<double>(all.now[q]);
  for (int q = 0; q < all.count; ++q) {
    if (!all.sees(q)) continue;
    all.total[q] = total[q];
    all.peak[q] = higher[q];
    ++all.chunks[q];
  }
}

}  // namespace
}  // namespace stepless::kernels
