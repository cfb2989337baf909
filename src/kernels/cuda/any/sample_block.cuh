// The steps of sampling one row by one block, in mlx-lm's order: penalties; log-softmax; top-p,
// min-p, xtc, top-k; the draw at logprob / temperature. Which tokens are still in the race is a bit
// per id. A warp reads 32 neighbouring ids at a time; every sum has one order, so a row's draw
// depends on the row alone.
#pragma once
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"
#include "kernels/philox.hpp"

namespace stepless::kernels {
namespace {

constexpr int kThreads = 1024, kWarps = kThreads / 32;

/// What the block shares. `room` is for one reduction at a time.
struct Shared {
  double room[kWarps];
  double part[kWarps];
  unsigned keys[kWarps];
};

/// A row after penalties.
struct Logits {
  const float* z;
  int64_t vocab;
  int32_t best;    // lowest id of the largest logit; -1: none is finite, or one is a NaN
  float top, low;  // largest and smallest finite logit
  double total;    // sum of e^(z - top)
  uint32_t* kept;  // a bit per id
};

inline __device__ int64_t words_of(const Logits& row) { return (row.vocab + 31) / 32; }
inline __device__ bool is_kept(const Logits& row, int64_t id) {
  return (row.kept[id / 32] >> (id % 32) & 1u) != 0;
}

/// Sum of f(id, z) over the ids in the race.
template <class F>
__device__ double sum_kept(const Logits& row, Shared& shared, F f) {
  double sum = 0;
  for (int64_t id = threadIdx.x; id < row.vocab; id += kThreads)
    if (is_kept(row, id)) sum += f(id, row.z[id]);
  return block_sum(sum, shared.room);
}

inline __device__ unsigned block_most(unsigned value, Shared& shared) {
  value = __reduce_max_sync(~0u, value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared.keys[threadIdx.x / 32] = value;
  __syncthreads();
  return __reduce_max_sync(~0u, shared.keys[threadIdx.x % 32]);
}
inline __device__ unsigned block_least(unsigned value, Shared& shared) {
  return ~block_most(~value, shared);
}

/// Order of floats as order of integers.
inline __device__ unsigned key_of(float z) {
  const unsigned bits = __float_as_uint(z);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}
inline __device__ float of_key(unsigned key) {
  return __uint_as_float((key >> 31) != 0 ? key & 0x7fffffffu : ~key);
}

// ---- penalties

struct Recent {
  const int32_t* begin;
  int64_t size;
};
inline __device__ Recent recent(const SampleRow& row, int32_t context) {
  const int64_t size = row.history_size, n = context > 0 && context < size ? context : size;
  return {row.history + (size - n), n};
}
inline __device__ bool repeats(const SampleRow& row) {
  return row.repetition_penalty != 0.0f && row.repetition_penalty != 1.0f;
}
inline __device__ bool has_penalties(const SampleRow& row) {
  const bool used = repeats(row) || row.presence_penalty != 0.0f || row.frequency_penalty != 0.0f;
  return row.bias_count > 0 || (used && row.history_size > 0);
}

/// Whether an id is this thread's: it alone touches the id's logit and mark, in order of history.
inline __device__ bool is_mine(int32_t id, int64_t vocab) {
  return id >= 0 && id < vocab && id / 32 % kThreads == static_cast<int32_t>(threadIdx.x);
}
inline __device__ bool first_time(uint32_t* marks, int32_t id) {
  const uint32_t bit = 1u << (id % 32), old = marks[id / 32];
  marks[id / 32] = old | bit;
  return (old & bit) == 0;
}
inline __device__ void clear_marks(uint32_t* marks, int64_t vocab) {
  for (int64_t w = threadIdx.x; w < (vocab + 31) / 32; w += kThreads) marks[w] = 0;
}

inline __device__ void penalise(const SampleRow& row, const float* logits, int64_t vocab, float* z,
                                uint32_t* marks) {
  for (int64_t id = threadIdx.x; id < vocab; id += kThreads) z[id] = logits[id];
  clear_marks(marks, vocab);
  __syncthreads();
  for (int64_t i = 0; i < row.bias_count; ++i)
    if (is_mine(row.bias_ids[i], vocab)) z[row.bias_ids[i]] += row.bias_values[i];
  if (repeats(row)) {
    const Recent tokens = recent(row, row.repetition_context);
    for (int64_t i = 0; i < tokens.size; ++i) {
      const int32_t id = tokens.begin[i];
      if (is_mine(id, vocab) && first_time(marks, id))
        z[id] = z[id] < 0.0f ? z[id] * row.repetition_penalty : z[id] / row.repetition_penalty;
    }
  }
  if (row.presence_penalty != 0.0f) {
    clear_marks(marks, vocab);  // a word's owner clears it: no other thread looks at it
    const Recent tokens = recent(row, row.presence_context);
    for (int64_t i = 0; i < tokens.size; ++i)
      if (is_mine(tokens.begin[i], vocab) && first_time(marks, tokens.begin[i]))
        z[tokens.begin[i]] -= row.presence_penalty;
  }
  if (row.frequency_penalty != 0.0f) {
    const Recent tokens = recent(row, row.frequency_context);
    for (int64_t i = 0; i < tokens.size; ++i)
      if (is_mine(tokens.begin[i], vocab)) z[tokens.begin[i]] -= row.frequency_penalty;
  }
  __syncthreads();
}

// ---- the best token and the log-softmax

/// f(id, z) for every id, four neighbours to a thread where their logits are one aligned piece: by
/// single ones a block takes three times as long.
template <class F>
__device__ void each_logit(const Logits& row, F f) {
  if (row.vocab % 4 != 0) {
    for (int64_t id = threadIdx.x; id < row.vocab; id += kThreads) f(id, row.z[id]);
    return;
  }
  const auto* const fours = reinterpret_cast<const float4*>(row.z);
#pragma unroll 8
  for (int64_t i = threadIdx.x; i < row.vocab / 4; i += kThreads) {
    const float4 z = fours[i];
    f(4 * i, z.x), f(4 * i + 1, z.y), f(4 * i + 2, z.z), f(4 * i + 3, z.w);
  }
}

inline __device__ void survey(Logits& row, Shared& shared) {
  unsigned top = 0, low = ~0u;
  each_logit(row, [&](int64_t, float z) {
    if (z != z) return;
    top = max(top, key_of(z));
    if (z > -INFINITY) low = min(low, key_of(z));
  });
  const unsigned none = key_of(-INFINITY);
  top = block_most(max(top, none), shared);
  low = block_least(low, shared);
  row.best = -1, row.total = 0;
  row.top = of_key(top), row.low = low == ~0u ? row.top : of_key(low);
  if (top == none || row.top == INFINITY) return;
  double sum = 0;
  unsigned place = ~0u;
  each_logit(row, [&](int64_t id, float z) {
    if (z == row.top) place = min(place, static_cast<unsigned>(id));
    sum += static_cast<double>(expf(z - row.top));
  });
  row.total = block_sum(sum, shared.room);
  place = block_least(place, shared);
  if (row.total == row.total) row.best = static_cast<int32_t>(place);  // else a NaN somewhere
}

inline __device__ float logprob_of(const Logits& row, int32_t id) {
  return static_cast<float>(static_cast<double>(row.z[id]) - static_cast<double>(row.top) -
                            log(row.total));
}

// ---- filters: bits of `kept` go out

template <class F>
__device__ void keep_if(const Logits& row, F f) {
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int64_t word = threadIdx.x / 32; word < words_of(row); word += kWarps) {
    const int64_t id = word * 32 + lane;
    const bool stays = id < row.vocab && is_kept(row, id) && f(id, row.z[id]);
    const unsigned bits = __ballot_sync(~0u, stays);
    if (lane == 0) row.kept[word] = bits;
  }
  __syncthreads();
}

inline __device__ void keep_all(const Logits& row) {
  for (int64_t w = threadIdx.x; w < words_of(row); w += kThreads) row.kept[w] = ~0u;
  __syncthreads();
}

/// The smallest logit v, at least row.low, such that what is strictly better in the race weighs
/// less than the target: the 32 bits of its key, one by one.
template <class F>
__device__ float threshold_of(const Logits& row, Shared& shared, double target, F weight) {
  unsigned low = key_of(row.low), high = key_of(row.top);  // high holds: nothing is better
  while (low < high) {
    const unsigned middle = low + (high - low) / 2;
    const float v = of_key(middle);
    const double above = sum_kept(
        row, shared, [&](int64_t, float z) { return z > v && z >= row.low ? weight(z) : 0.0; });
    if (above < target)
      high = middle;
    else
      low = middle + 1;
  }
  return of_key(high);
}

inline __device__ double count_kept(const Logits& row, Shared& shared) {
  return sum_kept(row, shared, [](int64_t, float) { return 1.0; });
}

/// The k best; among equals the lower ids.
inline __device__ void keep_best(const Logits& row, Shared& shared, int64_t k) {
  if (static_cast<double>(k) >= count_kept(row, shared)) return;
  const float threshold =
      threshold_of(row, shared, static_cast<double>(k), [](float) { return 1.0; });
  const double over =
      sum_kept(row, shared, [&](int64_t, float z) { return z > threshold ? 1.0 : 0.0; });
  const double ties = static_cast<double>(k) - over;
  const auto ties_up_to = [&](int64_t last) {
    return sum_kept(row, shared,
                    [&](int64_t id, float z) { return z == threshold && id <= last ? 1.0 : 0.0; });
  };
  int64_t low = 0, high = row.vocab - 1;  // the last tie that stays
  if (ties_up_to(high) > ties)
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (ties_up_to(middle) >= ties)
        high = middle;
      else
        low = middle + 1;
    }
  keep_if(row,
          [&](int64_t id, float z) { return z > threshold || (z == threshold && id <= high); });
}

inline __device__ void keep_top_p(const Logits& row, Shared& shared, float top_p) {
  const float threshold =
      threshold_of(row, shared, static_cast<double>(top_p) * row.total,
                   [&](float z) { return static_cast<double>(expf(z - row.top)); });
  keep_if(row, [&](int64_t, float z) { return z >= threshold; });  // ties are all kept
}

inline __device__ void keep_min_p(const Logits& row, Shared& shared, float min_p,
                                  int64_t least_kept) {
  const double border = log(static_cast<double>(min_p));
  const auto is_likely = [&](float z) {
    return static_cast<double>(z) - static_cast<double>(row.top) >= border;
  };
  const double n =
      sum_kept(row, shared, [&](int64_t, float z) { return is_likely(z) ? 1.0 : 0.0; });
  if (n < static_cast<double>(least_kept)) return keep_best(row, shared, least_kept);
  keep_if(row, [&](int64_t, float z) { return is_likely(z); });
}

inline __device__ bool is_exempt(const SampleRow& params, int64_t id) {
  for (int64_t i = 0; i < params.xtc_exempt_count; ++i)
    if (params.xtc_exempt[i] == id) return true;
  return false;
}

/// Excludes top choices: of the tokens likelier than xtc_threshold all but the least likely.
inline __device__ void keep_xtc(const SampleRow& params, const Logits& row, Shared& shared) {
  const auto weight = [&](float z) { return static_cast<double>(expf(z - row.top)); };
  const double border = static_cast<double>(params.xtc_threshold) *
                        sum_kept(row, shared, [&](int64_t, float z) { return weight(z); });
  unsigned least = ~0u;
  for (int64_t id = threadIdx.x; id < row.vocab; id += kThreads)
    if (is_kept(row, id) && weight(row.z[id]) > border) least = min(least, key_of(row.z[id]));
  least = block_least(least, shared);
  keep_if(row, [&](int64_t id, float z) { return key_of(z) <= least || is_exempt(params, id); });
}

inline __device__ void filter(const SampleRow& params, const Logits& row, Shared& shared,
                              double coin) {
  keep_all(row);
  if (params.top_p > 0.0f && params.top_p < 1.0f) keep_top_p(row, shared, params.top_p);
  if (params.min_p > 0.0f) keep_min_p(row, shared, params.min_p, params.min_tokens_to_keep);
  if (coin < static_cast<double>(params.xtc_probability)) keep_xtc(params, row, shared);
  if (params.top_k > 0) keep_best(row, shared, params.top_k);
}

// ---- the draw

/// The token at `uniform` of the distribution over the kept tokens, counted in order of id: a warp
/// sums a run of ids, the first warp walks the run in which the target lies.
inline __device__ int32_t draw(const Logits& row, Shared& shared, float temperature,
                               double uniform) {
  unsigned best = 0, place = ~0u;
  for (int64_t id = threadIdx.x; id < row.vocab; id += kThreads)
    if (is_kept(row, id)) best = max(best, key_of(row.z[id]));
  // Weights relative to the best that is left: xtc may have taken the row's own.
  best = block_most(best, shared);
  const float top = of_key(best);
  for (int64_t id = threadIdx.x; id < row.vocab; id += kThreads)
    if (is_kept(row, id) && row.z[id] == top) place = min(place, static_cast<unsigned>(id));
  place = block_least(place, shared);
  const auto weight = [&](int64_t id) {
    return id < row.vocab && is_kept(row, id)
               ? static_cast<double>(expf((row.z[id] - top) / temperature))
               : 0.0;
  };
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t run = (words_of(row) + kWarps - 1) / kWarps * 32;
  double sum = 0;
  for (int64_t at = 0; at < run; at += 32) sum += weight(warp * run + at + lane);
  for (int other = 16; other > 0; other /= 2) sum += __shfl_xor_sync(~0u, sum, other);
  __syncthreads();
  if (lane == 0) shared.part[warp] = sum;
  __syncthreads();
  double total = 0, passed = 0;
  for (int w = 0; w < kWarps; ++w) total += shared.part[w];
  const double target = uniform * total;
  int at_run = 0;
  while (at_run < kWarps - 1 && !(passed + shared.part[at_run] > target))
    passed += shared.part[at_run++];
  // Every warp walks alike. What is left when rounding lets the sum end below the target: the last
  // token that weighs anything.
  int32_t token = static_cast<int32_t>(place);
  for (int64_t at = at_run * run; at < (at_run + 1) * run && at < row.vocab; at += 32) {
    const double own = weight(at + lane);
    double up_to = own;
    for (int before = 1; before < 32; before *= 2) {
      const double theirs = __shfl_up_sync(~0u, up_to, before);
      if (lane >= before) up_to += theirs;
    }
    const unsigned some = __ballot_sync(~0u, own > 0.0);
    const unsigned over = __ballot_sync(~0u, own > 0.0 && passed + up_to > target);
    if (over != 0) return static_cast<int32_t>(at + __ffs(static_cast<int>(over)) - 1);
    if (some != 0) token = static_cast<int32_t>(at + 31 - __clz(static_cast<int>(some)));
    passed += __shfl_sync(~0u, up_to, 31);
  }
  return token;
}

}  // namespace
}  // namespace stepless::kernels
