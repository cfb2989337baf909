// The steps of sampling one row, in mlx-lm's order: penalties; log-softmax; top-p, min-p, xtc,
// top-k; the draw at logprob / temperature. Everything passes over the row in blocks and sorts at
// most kSortable values; nothing is allocated. Static: the kernel and its test each keep their own
// copy.
#pragma once
#include <math.h>
#include <string.h>

#include "kernels/cpu/any/vector_math.hpp"
#include "kernels/philox.hpp"

namespace stepless::kernels {
namespace {

constexpr int kL = kNativeLanes;     // no bit depends on it
constexpr int64_t kSpan = 256;       // logits of one block
constexpr int64_t kLook = 4096;      // logits whose largest is found before it is placed
constexpr int64_t kSortable = 2048;  // values that are sorted on the stack
constexpr int kBins = 1024;
constexpr float kNear = 8.0f;

/// A row after penalties.
struct Logits {
  const float* z;
  int64_t vocab;
  int32_t best;    // lowest id of the largest logit; -1: none is finite, or one is a NaN
  float top, low;  // largest and smallest finite logit
  double total;    // sum of e^(z - top)
};

/// Tokens still in the race, in order of id. ids null: all of them.
struct Kept {
  int32_t* ids;
  int64_t count;
};

inline int32_t id_at(const Kept& kept, int64_t i) {
  return kept.ids == nullptr ? static_cast<int32_t>(i) : kept.ids[i];
}

/// The next block's logits, padded with -infinity to whole vectors; returns how many.
inline int64_t fetch(const Logits& row, const Kept& kept, int64_t at, float* block) {
  const int64_t n = kept.count - at < kSpan ? kept.count - at : kSpan;
  if (kept.ids == nullptr)
    memcpy(block, row.z + at, static_cast<size_t>(n) * sizeof(float));
  else
    for (int64_t i = 0; i < n; ++i) block[i] = row.z[kept.ids[at + i]];
  for (int64_t i = n; i % kL != 0; ++i) block[i] = -__builtin_inff();
  return n;
}

/// e^((z - top) / temperature).
inline Floats<kL> weight_of(Floats<kL> z, float top, float temperature) {
  const Floats<kL> below = z - top;
  return exp_of<kL>(temperature == 1.0f ? below : below / temperature);
}

/// Four sums, side by side, that a block of weights is added to.
inline double sum_of(const float* four) {
  return (static_cast<double>(four[0]) + static_cast<double>(four[1])) +
         (static_cast<double>(four[2]) + static_cast<double>(four[3]));
}

/// weight = weight_of(z), in place allowed; returns their sum.
inline double weigh(const float* z, int64_t n, float top, float temperature, float* weight) {
  Floats<4> sums = {};
  for (int64_t i = 0; i < n; i += kL) {
    store<kL>(weight + i, weight_of(load<kL>(z + i), top, temperature));
    for (int q = 0; q < kL; q += 4) sums = sums + load<4>(weight + i + q);
  }
  float four[4];
  store<4>(four, sums);
  return sum_of(four);
}

/// Blocks whose logits share a vector, four of each: so lane by lane they add up as weigh() adds.
constexpr int kTogether = kL / 4;

inline Floats<kL> load_together(const float* z) {
#if defined(__AVX512F__)
  const __m512 first = _mm512_castps128_ps512(_mm_loadu_ps(z));
  const __m512 two = _mm512_insertf32x4(first, _mm_loadu_ps(z + kSpan), 1);
  const __m512 three = _mm512_insertf32x4(two, _mm_loadu_ps(z + 2 * kSpan), 2);
  return _mm512_insertf32x4(three, _mm_loadu_ps(z + 3 * kSpan), 3);
#elif defined(__AVX2__)
  const __m256 first = _mm256_castps128_ps256(_mm_loadu_ps(z));
  return _mm256_insertf128_ps(first, _mm_loadu_ps(z + kSpan), 1);
#else
  return load<kL>(z);
#endif
}

/// The sums of kTogether whole blocks, added to the total as if one by one.
inline double weigh_together(const float* z, float top, float temperature, double total) {
  Floats<kL> sums = {};
  for (int64_t i = 0; i < kSpan; i += 4)
    sums = sums + weight_of(load_together(z + i), top, temperature);
  float four[kL];
  store<kL>(four, sums);
  for (int b = 0; b < kTogether; ++b) total += sum_of(four + 4 * b);
  return total;
}

/// Sum of the weights of the kept tokens.
inline double total_of(const Logits& row, const Kept& kept, float temperature) {
  alignas(64) float block[kSpan];
  double total = 0;
  int64_t at = 0;
  if (kept.ids == nullptr)
    for (; at + kTogether * kSpan <= kept.count; at += kTogether * kSpan)
      total = weigh_together(row.z + at, row.top, temperature, total);
  for (; at < kept.count; at += kSpan) {
    const int64_t n = fetch(row, kept, at, block);
    total += weigh(block, n, row.top, temperature, block);
  }
  return total;
}

// ---- penalties

/// The newest `context` tokens of the history; 0: all.
struct Recent {
  const int32_t* begin;
  const int32_t* end;
};

inline Recent recent(const SampleRow& row, int32_t context) {
  const int64_t size = row.history_size;
  const int64_t n = context > 0 && context < size ? context : size;
  return {row.history + (size - n), row.history + size};
}

inline bool repeats(const SampleRow& row) {
  return row.repetition_penalty != 0.0f && row.repetition_penalty != 1.0f;
}

inline bool has_penalties(const SampleRow& row) {
  const bool used = repeats(row) || row.presence_penalty != 0.0f || row.frequency_penalty != 0.0f;
  return row.bias_count > 0 || (used && row.history_size > 0);
}

/// True the first time it sees an id of the vocabulary. marks: a bit per id.
inline bool first_time(uint32_t* marks, int64_t vocab, int32_t id) {
  if (id < 0 || id >= vocab) return false;
  const uint32_t bit = 1u << (id % 32);
  const bool fresh = (marks[id / 32] & bit) == 0;
  marks[id / 32] |= bit;
  return fresh;
}

/// z = logits with bias and penalties. marks: room for vocab bits, whole words.
inline void penalise(const SampleRow& row, const float* logits, int64_t vocab, float* z,
                     uint32_t* marks) {
  memcpy(z, logits, static_cast<size_t>(vocab) * sizeof(float));
  const size_t mark_bytes = static_cast<size_t>((vocab + 31) / 32) * sizeof(uint32_t);
  for (int64_t i = 0; i < row.bias_count; ++i)
    if (row.bias_ids[i] >= 0 && row.bias_ids[i] < vocab) z[row.bias_ids[i]] += row.bias_values[i];
  if (repeats(row)) {
    memset(marks, 0, mark_bytes);
    const Recent tokens = recent(row, row.repetition_context);
    for (const int32_t* id = tokens.begin; id != tokens.end; ++id)
      if (first_time(marks, vocab, *id))
        z[*id] = z[*id] < 0.0f ? z[*id] * row.repetition_penalty : z[*id] / row.repetition_penalty;
  }
  if (row.presence_penalty != 0.0f) {
    memset(marks, 0, mark_bytes);
    const Recent tokens = recent(row, row.presence_context);
    for (const int32_t* id = tokens.begin; id != tokens.end; ++id)
      if (first_time(marks, vocab, *id)) z[*id] -= row.presence_penalty;
  }
  if (row.frequency_penalty != 0.0f) {
    const Recent tokens = recent(row, row.frequency_context);
    for (const int32_t* id = tokens.begin; id != tokens.end; ++id)
      if (*id >= 0 && *id < vocab) z[*id] -= row.frequency_penalty;
  }
}

// ---- the best token and the log-softmax

/// The largest and the smallest finite of some logits, lane by lane; NaN is passed over.
struct Ends {
  Floats<kL> top, low;
};

inline void extend(Ends& ends, Floats<kL> z) {
  ends.top = z > ends.top ? z : ends.top;
  const Floats<kL> finite = z > -__builtin_inff() ? z : ends.low;
  ends.low = finite < ends.low ? finite : ends.low;
}

/// Extends low by n logits and returns the largest of them. Four chains, as one waits for itself.
inline float look(const float* z, int64_t n, Floats<kL>& low) {
  const Floats<kL> infinity = splat<kL>(__builtin_inff());
  Ends ends[4] = {{-infinity, low}, {-infinity, low}, {-infinity, low}, {-infinity, low}};
  int64_t i = 0;
  for (; i + 4 * kL <= n; i += 4 * kL)
#pragma GCC unroll 4
    for (int e = 0; e < 4; ++e) extend(ends[e], load<kL>(z + i + e * kL));
  for (; i + kL <= n; i += kL) extend(ends[0], load<kL>(z + i));
  if (i < n) {
    alignas(64) float rest[kL];
    for (int64_t l = 0; l < kL; ++l) rest[l] = z[i + l < n ? i + l : n - 1];
    extend(ends[0], load<kL>(rest));
  }
  for (int e = 1; e < 4; ++e) {
    ends[0].top = ends[e].top > ends[0].top ? ends[e].top : ends[0].top;
    ends[0].low = ends[e].low < ends[0].low ? ends[e].low : ends[0].low;
  }
  low = ends[0].low;
  float best = ends[0].top[0];
  for (int l = 1; l < kL; ++l) best = ends[0].top[l] > best ? ends[0].top[l] : best;
  return best;
}

inline Logits survey(const float* z, int64_t vocab) {
  const float infinity = __builtin_inff();
  Logits row = {z, vocab, -1, -infinity, infinity, 0};
  Floats<kL> low = splat<kL>(infinity);
  int64_t place = -1;
  for (int64_t at = 0; at < vocab; at += kLook) {
    const float best = look(z + at, vocab - at < kLook ? vocab - at : kLook, low);
    if (!(best > row.top)) continue;
    row.top = best;
    place = at;
  }
  if (place < 0 || row.top == infinity) return row;
  for (int l = 0; l < kL; ++l) row.low = low[l] < row.low ? low[l] : row.low;
  row.total = total_of(row, {nullptr, vocab}, 1.0f);
  if (row.total != row.total) return row;  // a NaN somewhere
  while (z[place] != row.top) ++place;
  row.best = static_cast<int32_t>(place);
  return row;
}

inline float logprob_of(const Logits& row, int32_t id) {
  return static_cast<float>(static_cast<double>(row.z[id]) - static_cast<double>(row.top) -
                            log(row.total));
}

// ---- thresholds: the smallest logit v such that what is strictly better weighs less than a target

enum class Weight : uint8_t { probability, one };

struct Bins {
  double weight[kBins];
  int64_t count[kBins];
  float top[kBins], low[kBins];
};

/// Whether one of a padded block's logits is at least `low`.
inline bool reaches(const float* block, int64_t n, float low) {
  Floats<kL> top = splat<kL>(-__builtin_inff());
  for (int64_t i = 0; i < n; i += kL) {
    const Floats<kL> z = load<kL>(block + i);
    top = z > top ? z : top;
  }
  for (int l = 0; l < kL; ++l)
    if (top[l] >= low) return true;
  return false;
}

/// Kept tokens [begin, end), at most kSpan.
struct Stretch {
  int64_t begin, end;
};

/// The next stretch from `at` on, without blocks of which no logit is at least `low`: most of them,
/// where few tokens are likely. Empty: there is none. (As a function that calls another for every
/// token, gcc 12 keeps what that counts in memory: twice as slow where all are likely.)
inline Stretch next_near(const Logits& row, const Kept& kept, float low, int64_t at) {
  while (kept.ids == nullptr && at + kSpan <= kept.count && !reaches(row.z + at, kSpan, low))
    at += kSpan;
  return {at, kept.count - at < kSpan ? kept.count : at + kSpan};
}

/// Kept logits in [low, top], sorted into bins from the top down.
inline void fill_bins(const Logits& row, const Kept& kept, float low, float top, Weight kind,
                      Bins& bins) {
  // In double: no difference overflows, and the ends of the narrowest range still get two bins.
  const double scale = (kBins - 1) / (static_cast<double>(top) - static_cast<double>(low));
  for (int b = 0; b < kBins; ++b) {
    bins.weight[b] = 0;
    bins.count[b] = 0;
    bins.top[b] = low;
    bins.low[b] = top;
  }
  alignas(64) float block[kSpan];
  alignas(64) float weight[kSpan];
  for (int64_t at = 0; at < kept.count; at += kSpan) {
    const int64_t n = fetch(row, kept, at, block);
    if (!reaches(block, n, low)) continue;
    if (kind == Weight::probability) weigh(block, n, row.top, 1.0f, weight);
    for (int64_t i = 0; i < n; ++i) {
      if (!(block[i] >= low && block[i] <= top)) continue;
      const int b =
          static_cast<int>((static_cast<double>(top) - static_cast<double>(block[i])) * scale);
      bins.weight[b] += kind == Weight::probability ? static_cast<double>(weight[i]) : 1.0;
      ++bins.count[b];
      bins.top[b] = block[i] > bins.top[b] ? block[i] : bins.top[b];
      bins.low[b] = block[i] < bins.low[b] ? block[i] : bins.low[b];
    }
  }
}

/// Largest first.
inline void sort_down(float* values, int64_t n) {
  for (int64_t gap = 701; gap > 0; gap = gap == 1 ? 0 : gap * 10 / 23 + 1)
    for (int64_t i = gap; i < n; ++i) {
      const float value = values[i];
      int64_t j = i;
      for (; j >= gap && values[j - gap] < value; j -= gap) values[j] = values[j - gap];
      values[j] = value;
    }
}

/// The threshold among the kept logits in [low, top], at most kSortable of them; `above` weighs
/// what is better.
inline float walk_down(const Logits& row, const Kept& kept, float low, float top, Weight kind,
                       double above, double target) {
  float values[kSortable];
  int64_t n = 0;
  Stretch some = next_near(row, kept, low, 0);
  for (; some.begin < some.end; some = next_near(row, kept, low, some.end))
    for (int64_t i = some.begin; i < some.end; ++i) {
      const float z = row.z[id_at(kept, i)];
      if (z >= low && z <= top) values[n++] = z;
    }
  sort_down(values, n);
  float threshold = top;
  for (int64_t i = 0; i < n && above < target; ++i) {
    threshold = values[i];
    above += kind == Weight::one ? 1.0 : static_cast<double>(exp_one(values[i] - row.top));
  }
  return threshold;
}

/// Narrows [low, top] to the bin where the sum from the top crosses the target, until the rest can
/// be sorted. The first look ends kNear below the best: there a trained model's threshold lies, and
/// few tokens.
inline float threshold_of(const Logits& row, const Kept& kept, Weight kind, double target) {
  float low = row.low, top = row.top;
  double above = 0;
  int64_t count = kept.count;
  bool near = top - kNear > low && top - kNear < top;
  Bins bins;
  while (count > kSortable && low < top) {
    fill_bins(row, kept, near ? top - kNear : low, top, kind, bins);
    double sum = above;
    int b = 0, last = 0;
    for (; b < kBins; ++b) {
      if (bins.count[b] == 0) continue;
      last = b;
      if (sum + bins.weight[b] >= target) break;
      sum += bins.weight[b];
    }
    const bool missed = near && b == kBins;
    near = false;
    if (missed) continue;
    if (b == kBins) return bins.low[last];  // the target is not reached: everything is kept
    above = sum;
    low = bins.low[b];
    top = bins.top[b];
    count = bins.count[b];
  }
  return low < top ? walk_down(row, kept, low, top, kind, above, target) : top;
}

// ---- filters

/// Keeps logits above `threshold` and the first `ties` of those that equal it.
inline Kept keep_over(const Logits& row, const Kept& kept, float threshold, int64_t ties,
                      int32_t* ids) {
  int64_t n = 0;
  Stretch some = next_near(row, kept, threshold, 0);
  for (; some.begin < some.end; some = next_near(row, kept, threshold, some.end))
    for (int64_t i = some.begin; i < some.end; ++i) {
      const int32_t id = id_at(kept, i);
      const float z = row.z[id];
      const bool tie = z == threshold && ties > 0;
      ties -= tie ? 1 : 0;
      ids[n] = id;
      n += z > threshold || tie ? 1 : 0;
    }
  return {ids, n};
}

inline int64_t count_over(const Logits& row, const Kept& kept, float threshold) {
  int64_t n = 0;
  Stretch some = next_near(row, kept, threshold, 0);
  for (; some.begin < some.end; some = next_near(row, kept, threshold, some.end))
    for (int64_t i = some.begin; i < some.end; ++i) n += row.z[id_at(kept, i)] > threshold ? 1 : 0;
  return n;
}

/// The k best; among equals the lower ids.
inline Kept keep_best(const Logits& row, const Kept& kept, int64_t k, int32_t* ids) {
  if (k >= kept.count) return kept;
  const float threshold = threshold_of(row, kept, Weight::one, static_cast<double>(k));
  return keep_over(row, kept, threshold, k - count_over(row, kept, threshold), ids);
}

/// Tokens until the better ones weigh top_p; ties at the border are all kept.
inline Kept keep_top_p(const Logits& row, const Kept& kept, float top_p, int32_t* ids) {
  const double target = static_cast<double>(top_p) * row.total;
  return keep_over(row, kept, threshold_of(row, kept, Weight::probability, target), kept.count,
                   ids);
}

/// Tokens at least min_p times as likely as the best, but never fewer than `least_kept`.
inline Kept keep_min_p(const Logits& row, const Kept& kept, float min_p, int64_t least_kept,
                       int32_t* ids) {
  // The same test as below in steps of logits: z - top >= ln(min_p).
  const double border = log(static_cast<double>(min_p));
  float threshold = row.top;
  int64_t n = 0;
  for (int64_t i = 0; i < kept.count; ++i) {
    const float z = row.z[id_at(kept, i)];
    if (static_cast<double>(z) - static_cast<double>(row.top) < border) continue;
    threshold = z < threshold ? z : threshold;
    ++n;
  }
  if (n < least_kept) return keep_best(row, kept, least_kept, ids);
  return keep_over(row, kept, threshold, kept.count, ids);
}

inline bool exempt(const SampleRow& params, int32_t id) {
  for (int64_t i = 0; i < params.xtc_exempt_count; ++i)
    if (params.xtc_exempt[i] == id) return true;
  return false;
}

/// Excludes top choices: of the tokens likelier than xtc_threshold all but the least likely.
inline Kept keep_xtc(const SampleRow& params, const Logits& row, const Kept& kept, int32_t* ids) {
  const double border = static_cast<double>(params.xtc_threshold) * total_of(row, kept, 1.0f);
  float least_over = __builtin_inff();
  alignas(64) float block[kSpan];
  alignas(64) float weight[kSpan];
  for (int64_t at = 0; at < kept.count; at += kSpan) {
    const int64_t n = fetch(row, kept, at, block);
    weigh(block, n, row.top, 1.0f, weight);
    for (int64_t i = 0; i < n; ++i)
      if (static_cast<double>(weight[i]) > border && block[i] < least_over) least_over = block[i];
  }
  int64_t n = 0;
  for (int64_t i = 0; i < kept.count; ++i) {
    const int32_t id = id_at(kept, i);
    ids[n] = id;
    n += row.z[id] > least_over && !exempt(params, id) ? 0 : 1;
  }
  return {ids, n};
}

/// All filters. ids: room for the vocabulary. `coin` is this position's xtc draw, in [0, 1).
inline Kept filter(const SampleRow& params, const Logits& row, double coin, int32_t* ids) {
  Kept kept = {nullptr, row.vocab};
  if (params.top_p > 0.0f && params.top_p < 1.0f) kept = keep_top_p(row, kept, params.top_p, ids);
  if (params.min_p > 0.0f)
    kept = keep_min_p(row, kept, params.min_p, params.min_tokens_to_keep, ids);
  if (coin < static_cast<double>(params.xtc_probability)) kept = keep_xtc(params, row, kept, ids);
  if (params.top_k > 0) kept = keep_best(row, kept, params.top_k, ids);
  return kept;
}

// ---- the draw

/// The token at `uniform` of the distribution over the kept tokens, counted in order of id.
inline int32_t draw(const Logits& row, const Kept& kept, float temperature, double uniform) {
  // Weights relative to the best that is left: xtc may have taken the row's own.
  Logits left = row;
  int32_t token = row.best;
  if (kept.ids != nullptr) left.top = -__builtin_inff();
  for (int64_t i = 0; kept.ids != nullptr && i < kept.count; ++i) {
    const int32_t id = kept.ids[i];
    if (!(row.z[id] > left.top)) continue;
    left.top = row.z[id];
    token = id;  // what is left when rounding lets the sum end below the target
  }
  const double target = uniform * total_of(left, kept, temperature);
  alignas(64) float block[kSpan];
  double passed = 0;
  int64_t at = 0;
  if (kept.ids == nullptr)
    for (; at + kTogether * kSpan < kept.count; at += kTogether * kSpan) {
      const double next = weigh_together(left.z + at, left.top, temperature, passed);
      if (next > target) break;
      passed = next;
    }
  for (; at < kept.count; at += kSpan) {
    const int64_t n = fetch(left, kept, at, block);
    const double sum = weigh(block, n, left.top, temperature, block);
    if (!(passed + sum > target) && at + kSpan < kept.count) {
      passed += sum;
      continue;
    }
    for (int64_t i = 0; i < n; ++i) {
      if (!(block[i] > 0.0f)) continue;
      token = id_at(kept, at + i);
      passed += static_cast<double>(block[i]);
      if (passed > target) return token;
    }
  }
  return token;
}

/// The `n` best ids, best first, equal ones by id. ids: room for the vocabulary.
inline int64_t best_ids(const Logits& row, int64_t n, int32_t* ids) {
  const Kept best = keep_best(row, {nullptr, row.vocab}, n, ids);
  const int64_t count = best.count;
  if (best.ids == nullptr)
    for (int64_t i = 0; i < count; ++i) ids[i] = static_cast<int32_t>(i);
  for (int64_t gap = 701; gap > 0; gap = gap == 1 ? 0 : gap * 10 / 23 + 1)
    for (int64_t i = gap; i < count; ++i) {
      const int32_t id = ids[i];
      int64_t j = i;
      for (; j >= gap; j -= gap) {
        const float other = row.z[ids[j - gap]];
        if (other > row.z[id] || (other == row.z[id] && ids[j - gap] < id)) break;
        ids[j] = ids[j - gap];
      }
      ids[j] = id;
    }
  return count;
}

}  // namespace
}  // namespace stepless::kernels
