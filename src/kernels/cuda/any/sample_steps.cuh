// The steps of sampling one row by a team of blocks, in mlx-lm's order: penalties; log-softmax;
// top-p, min-p, xtc, top-k; the draw at logprob / temperature. A logit that a filter takes out of
// the race becomes -inf.
#pragma once
#include "kernels/cuda/any/sample_team.cuh"
#include "kernels/philox.hpp"

namespace stepless::kernels {
namespace {

/// One part of the row's logits, where its block may write.
struct Part {
  float* z;
  int first, count;
};

/// A row after penalties.
struct Row {
  float* z;        // of this block's parts, one after another
  uint32_t* mark;  // a bit per logit, for penalties
  int vocab, part_size;
  int base;        // the part that z begins with
  int best;        // lowest id of the largest logit; -1: none is finite, or one is a NaN
  float top, low;  // largest and smallest finite logit
  double total;    // sum of e^(z - top)

  __device__ Part part(int index) const {
    const int first = index * part_size, left = vocab - first;
    return {z + static_cast<int64_t>(index - base) * part_size, first,
            left < 0           ? 0
            : left < part_size ? left
                               : part_size};
  }
};

/// f(i, z[i]) for a part's logits, by the thread that owns each.
template <class F>
__device__ void each_logit(const Part& part, F f) {
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < part.count; i += kThreads) f(i, part.z[i]);
}

/// f(i, z) for a part's logits, four neighbours by each thread at a time.
template <class F>
__device__ void each_four(const Part& part, F f) {
  const auto* const fours = reinterpret_cast<const float4*>(part.z);
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x); i < part.count / 4; i += kThreads) {
    const float4 z = fours[i];
    f(4 * i, z.x), f(4 * i + 1, z.y), f(4 * i + 2, z.z), f(4 * i + 3, z.w);
  }
  const int rest = part.count / 4 * 4 + static_cast<int>(threadIdx.x);
  if (rest < part.count) f(rest, part.z[rest]);
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

/// Penalties on one part. A logit and the word of its mark are one thread's, which follows the
/// history in order.
struct Penalised {
  Part part;
  uint32_t* mark;

  __device__ bool owns(int32_t id) const {
    const int at = id - part.first;
    return id >= part.first && at < part.count &&
           at / 32 % kThreads == static_cast<int>(threadIdx.x);
  }
  __device__ float& at(int32_t id) const { return part.z[id - part.first]; }
  __device__ bool first_time(int32_t id) const {
    uint32_t& word = mark[(id - part.first) / 32];
    const uint32_t bit = 1u << ((id - part.first) % 32), old = word;
    word = old | bit;
    return (old & bit) == 0;
  }
  __device__ void clear() const {
    for (int w = static_cast<int>(threadIdx.x); w < (part.count + 31) / 32; w += kThreads)
      mark[w] = 0;
  }
  template <class F>
  __device__ void each(const Recent& tokens, F f) const {
    for (int64_t i = 0; i < tokens.size; ++i)
      if (const int32_t id = tokens.begin[i]; owns(id)) f(id);
  }

  __device__ void apply(const SampleRow& row) const {
    for (int64_t i = 0; i < row.bias_count; ++i)
      if (owns(row.bias_ids[i])) at(row.bias_ids[i]) += row.bias_values[i];
    if (repeats(row)) {
      clear();
      each(recent(row, row.repetition_context), [&](int32_t id) {
        float& z = at(id);
        if (first_time(id)) z = z < 0.0f ? z * row.repetition_penalty : z / row.repetition_penalty;
      });
    }
    if (row.presence_penalty != 0.0f) {
      clear();
      each(recent(row, row.presence_context), [&](int32_t id) {
        if (first_time(id)) at(id) -= row.presence_penalty;
      });
    }
    if (row.frequency_penalty != 0.0f)
      each(recent(row, row.frequency_context),
           [&](int32_t id) { at(id) -= row.frequency_penalty; });
  }
};

template <int kTeam>
__device__ void penalise(const Team<kTeam>& team, const SampleRow& params, const Row& row) {
  team.each_part([&](int index) {
    const Part part = row.part(index);
    const int words = (row.part_size + 31) / 32;
    Penalised{part, row.mark + (index - row.base) * words}.apply(params);
  });
  __syncthreads();
}

// ---- the best token and the log-softmax

/// Bounds of what a thread has seen, NaNs left out; `low` of what is above -infinity.
struct Bounds {
  float top = -INFINITY, low = INFINITY;
  bool broken = false;

  __device__ void add(float z) {
    broken = broken || z != z;
    top = fmaxf(top, z);
    low = fminf(low, z == -INFINITY ? INFINITY : z);
  }
};
/// Those of the whole block as keys.
inline __device__ uint2 keys_of(const Bounds& own, Shared& shared) {
  const unsigned top = __reduce_max_sync(~0u, key_of(own.top));
  const unsigned low = __reduce_min_sync(~0u, key_of(own.low));
  if (threadIdx.x % 32 == 0)
    shared.keys[threadIdx.x / 32] = top, shared.lows[threadIdx.x / 32] = low;
  __syncthreads();
  return {__reduce_max_sync(~0u, shared.keys[threadIdx.x % kWarps]),
          __reduce_min_sync(~0u, shared.lows[threadIdx.x % kWarps])};
}

/// Each part's sum is relative to its own best, so that the parts meet once.
template <int kTeam>
__device__ void survey(Team<kTeam>& team, Row& row) {
  Shared& shared = team.shared;
  const unsigned none = key_of(-INFINITY);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  team.each_part([&](int index) {
    const Part part = row.part(index);
    Bounds own;
    each_four(part, [&](int, float z) { own.add(z); });
    const uint2 keys = keys_of(own, shared);
    const float best = of_key(keys.x);
    double sum = own.broken ? static_cast<double>(NAN) : 0.0;
    unsigned place = ~0u;
    if (keys.x != none)
      each_four(part, [&](int, float z) { sum += static_cast<double>(expf(z - best)); });
    if (own.top == best)
      each_four(part, [&](int i, float z) {
        if (z == best) place = min(place, static_cast<unsigned>(part.first + i));
      });
    place = __reduce_min_sync(~0u, place);
    sum = warp_sum(sum);
    if (lane == 0) shared.room[threadIdx.x / 32][0] = sum, shared.places[threadIdx.x / 32] = place;
    __syncthreads();
    sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += shared.room[w][0];
    team.tell(index, 0, static_cast<Word>(keys.x) << 32 | keys.y);
    team.tell(index, 1, __reduce_min_sync(~0u, shared.places[threadIdx.x % kWarps]));
    team.tell(index, 2, word_of(sum));
  });
  const auto met = team.meet();
  unsigned top = none, low = ~0u, place = ~0u;
  for (int part = kParts - 1; part >= 0; --part) {
    const auto own = static_cast<unsigned>(met[part][0] >> 32);
    if (own >= top) top = own, place = static_cast<unsigned>(met[part][1]);
    low = min(low, static_cast<unsigned>(met[part][0]));
  }
  row.best = -1, row.total = 0;
  row.top = of_key(top), row.low = of_key(low);
  // Each lane weighs one part: eight exponentials of doubles behind each other take 1 us.
  double weighed = double_of(met[lane % kParts][2]);
  const float own = of_key(static_cast<unsigned>(met[lane % kParts][0] >> 32));
  if (weighed != 0.0) weighed *= exp(static_cast<double>(own) - static_cast<double>(row.top));
  for (int part = 0; part < kParts; ++part) row.total += __shfl_sync(~0u, weighed, part);
  if (top == none || row.top == INFINITY || row.total != row.total) return;
  row.best = static_cast<int>(place);
}

inline __device__ float logprob_of(const Row& row, float z) {
  return static_cast<float>(static_cast<double>(z) - static_cast<double>(row.top) - log(row.total));
}

// ---- filters

template <int kTeam, class F>
__device__ void keep_if(const Team<kTeam>& team, const Row& row, F f) {
  __syncthreads();
  team.each_part([&](int index) {
    const Part part = row.part(index);
    each_logit(part, [&](int i, float z) {
      if (!f(part.first + i, z)) part.z[i] = -INFINITY;
    });
  });
  __syncthreads();
}

/// The least value in [low, high] such that the logits whose key is above it weigh less than the
/// target; `high` is one. Eight values are tried at a time. A pass costs about 3 us of which most
/// is the meeting (H200). Lost: a bit per logit still between the bounds, so that later passes look
/// at few (top-p 64 -> 77 us). To try: first values close below the best (top-k took 46 us instead
/// of 57 with them), and an end as soon as one block could sort what is left.
template <int kTeam, class Key, class Weight>
__device__ unsigned least_value(Team<kTeam>& team, const Row& row, unsigned low, unsigned high,
                                double target, Key key_at, Weight weight) {
  double over = 0;  // of the keys above `high`
  while (low < high) {
    const Word width = high - low;
    const auto tried = [&](int j) {
      return low + static_cast<unsigned>(width * static_cast<unsigned>(j) / kValues);
    };
    unsigned values[kValues];
#pragma unroll
    for (int j = 0; j < kValues; ++j) values[j] = tried(j);
    const double above = over + team_sums(team, [&](int index, double(&sums)[kValues]) {
                           const Part part = row.part(index);
                           each_logit(part, [&](int i, float z) {
                             const unsigned key = key_at(part.first + i, z);
                             if (key <= low || key > high) return;
                             const double own = weight(z);
#pragma unroll
                             for (int j = 0; j < kValues; ++j)
                               sums[j] += key > values[j] ? own : 0.0;
                           });
                         });
    const unsigned holds = __ballot_sync(~0u, above < target) & ((1u << kValues) - 1);
    const int j = holds == 0 ? kValues : __ffs(static_cast<int>(holds)) - 1;
    if (j < kValues) {
      over = __shfl_sync(~0u, above, j);
      high = tried(j);
    }
    if (j > 0) low = tried(j - 1) + 1;
  }
  return high;
}

/// The smallest logit such that what is strictly better weighs less than the target.
template <int kTeam, class Weight>
__device__ float threshold_of(Team<kTeam>& team, const Row& row, double target, Weight weight) {
  return of_key(least_value(
      team, row, key_of(row.low), key_of(row.top), target, [](int, float z) { return key_of(z); },
      weight));
}

/// The k best; among equals the lower ids.
template <int kTeam>
__device__ void keep_best(Team<kTeam>& team, const Row& row, double k) {
  const auto one = [](float) { return 1.0; };
  const float threshold = threshold_of(team, row, k, one);
  const double found = team_sums(team, [&](int index, double(&sums)[kValues]) {
    each_logit(row.part(index), [&](int, float z) {
      sums[0] += z > threshold ? 1.0 : 0.0;
      sums[1] += z == threshold ? 1.0 : 0.0;
    });
  });
  const double spare = __shfl_sync(~0u, found, 0) + __shfl_sync(~0u, found, 1) - k;
  unsigned last = static_cast<unsigned>(row.vocab) - 1;  // the last tie that stays
  if (spare > 0)                                         // so many ties behind it go
    last = least_value(
        team, row, 0, last, spare + 1,
        [&](int id, float z) { return z == threshold ? static_cast<unsigned>(id) : 0u; }, one);
  keep_if(team, row, [&](int id, float z) {
    return z > threshold || (z == threshold && static_cast<unsigned>(id) <= last);
  });
}

template <int kTeam>
__device__ void keep_top_p(Team<kTeam>& team, const Row& row, float top_p) {
  const float threshold =
      threshold_of(team, row, static_cast<double>(top_p) * row.total,
                   [&](float z) { return static_cast<double>(expf(z - row.top)); });
  keep_if(team, row, [&](int, float z) { return z >= threshold; });  // ties are all kept
}

template <int kTeam>
__device__ void keep_min_p(Team<kTeam>& team, const Row& row, float min_p, int least_kept) {
  const double border = log(static_cast<double>(min_p));
  const auto is_likely = [&](float z) {
    return static_cast<double>(z) - static_cast<double>(row.top) >= border;
  };
  const double found = team_sums(team, [&](int index, double(&sums)[kValues]) {
    each_logit(row.part(index), [&](int, float z) { sums[0] += is_likely(z) ? 1.0 : 0.0; });
  });
  if (__shfl_sync(~0u, found, 0) < static_cast<double>(least_kept))
    return keep_best(team, row, static_cast<double>(least_kept));
  keep_if(team, row, [&](int, float z) { return is_likely(z); });
}

inline __device__ bool is_exempt(const SampleRow& params, int id) {
  for (int64_t i = 0; i < params.xtc_exempt_count; ++i)
    if (params.xtc_exempt[i] == id) return true;
  return false;
}

/// Excludes top choices: of the tokens likelier than xtc_threshold all but the least likely.
/// Returns the best that is left.
template <int kTeam>
__device__ float keep_xtc(Team<kTeam>& team, const SampleRow& params, const Row& row) {
  const auto weight = [&](float z) { return static_cast<double>(expf(z - row.top)); };
  const double found = team_sums(team, [&](int index, double(&sums)[kValues]) {
    each_logit(row.part(index), [&](int, float z) { sums[0] += weight(z); });
  });
  const double border = static_cast<double>(params.xtc_threshold) * __shfl_sync(~0u, found, 0);
  const auto least = ~static_cast<unsigned>(team_most(team, [&](int index) {
    unsigned most = 0;
    each_logit(row.part(index), [&](int, float z) {
      if (weight(z) > border) most = max(most, ~key_of(z));
    });
    return Word{most};
  }));
  keep_if(team, row, [&](int id, float z) { return key_of(z) <= least || is_exempt(params, id); });
  return of_key(static_cast<unsigned>(team_most(team, [&](int index) {
    unsigned most = 0;
    each_logit(row.part(index), [&](int, float z) { most = max(most, key_of(z)); });
    return Word{most};
  })));
}

/// Returns the best logit that is left.
template <int kTeam>
__device__ float filter(Team<kTeam>& team, const SampleRow& params, const Row& row, double coin) {
  float top = row.top;
  if (params.top_p > 0.0f && params.top_p < 1.0f) keep_top_p(team, row, params.top_p);
  if (params.min_p > 0.0f) keep_min_p(team, row, params.min_p, params.min_tokens_to_keep);
  if (coin < static_cast<double>(params.xtc_probability)) top = keep_xtc(team, params, row);
  if (params.top_k > 0 && params.top_k < row.vocab)
    keep_best(team, row, static_cast<double>(params.top_k));
  return top;
}

// ---- the draw

/// The first of n sums at which `passed` and those before it exceed the target, or the last that
/// weighs anything, when rounding lets them end below it; passes the ones before.
template <class F>
__device__ int run_at(int n, F sum, double target, double& passed) {
  int last = 0;
  double before = passed, sums = passed;
  for (int i = 0; i < n; ++i) {
    const double own = sum(i);
    if (own > 0.0) last = i, before = sums;
    if (own > 0.0 && sums + own > target) break;
    sums += own;
  }
  passed = before;
  return last;
}

/// The token at `uniform` of the distribution over what is kept, counted in order of id, for the
/// block that has it in its parts; the others get -1. A part is a run of ids for each warp, a run
/// again, and what is left is walked by every warp alike.
template <int kTeam>
__device__ int draw(Team<kTeam>& team, const Row& row, float top, float temperature,
                    double uniform) {
  Shared& shared = team.shared;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const auto weight = [&](const Part& part, int i, int end) {
    return i < end && i < part.count ? static_cast<double>(expf((part.z[i] - top) / temperature))
                                     : 0.0;
  };
  const auto sum_of = [&](const Part& part, int begin, int end) {
    double sum = 0;
    for (int at = begin; at < end && at < part.count; at += 32) sum += weight(part, at + lane, end);
    return warp_sum(sum);
  };
  const int run = (row.part_size + 32 * kWarps - 1) / (32 * kWarps) * 32;
  const int short_run = (run + 32 * kWarps - 1) / (32 * kWarps) * 32;
  team.each_part([&](int index) {
    const double sum = sum_of(row.part(index), warp * run, (warp + 1) * run);
    if (lane == 0) shared.runs[index][warp] = sum;
    __syncthreads();
    double all = 0;
    for (int w = 0; w < kWarps; ++w) all += shared.runs[index][w];
    team.tell(index, 0, word_of(all));
  });
  const auto met = team.meet();
  double total = 0, passed = 0;
  for (int part = 0; part < kParts; ++part) total += double_of(met[part][0]);
  const double target = uniform * total;
  const int index = run_at(
      kParts, [&](int i) { return double_of(met[i][0]); }, target, passed);
  if (kTeam > 1 && index != team.rank) return -1;
  const Part part = row.part(index);
  const int begin = run * run_at(
                              kWarps, [&](int i) { return shared.runs[index][i]; }, target, passed);
  const int end = begin + run;
  const int own = begin + warp * short_run;
  const double sum = sum_of(part, own, own + short_run < end ? own + short_run : end);
  __syncthreads();
  if (lane == 0) shared.room[warp][0] = sum;
  __syncthreads();
  const int first =
      begin + short_run * run_at(
                              kWarps, [&](int i) { return shared.room[i][0]; }, target, passed);
  int token = -1;
  for (int at = first; at < first + short_run && at < end; at += 32) {
    const double each = weight(part, at + lane, end);
    double up_to = each;
    for (int before = 1; before < 32; before *= 2) {
      const double theirs = __shfl_up_sync(~0u, up_to, before);
      if (lane >= before) up_to += theirs;
    }
    const unsigned some = __ballot_sync(~0u, each > 0.0);
    const unsigned over = __ballot_sync(~0u, each > 0.0 && passed + up_to > target);
    if (over != 0) return part.first + at + __ffs(static_cast<int>(over)) - 1;
    if (some != 0) token = part.first + at + 31 - __clz(static_cast<int>(some));
    passed += __shfl_sync(~0u, up_to, 31);
  }
  return token;
}

}  // namespace
}  // namespace stepless::kernels
