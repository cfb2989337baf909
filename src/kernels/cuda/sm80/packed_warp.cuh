// What a warp of attention over packed pages makes of its positions of each span: scores, weights
// and weighted values of all columns, until a share ends. No warp waits for another before.
//
// Scores are sums over the groups of a position, scale * (q · codes) + bias * (sum of q). Values
// meet weights that have their position's scale in them, in two numbers of 16 bits, of which the
// second is what the first lost; biases join in float32.
#pragma once
#include "kernels/cuda/sm80/packed_room.cuh"

namespace stepless::kernels::sm80 {

/// Heads of kRuns runs exactly, or of up to so many.
template <DType type, int bits, int kTiles, int kRuns, bool kExact>
struct PackedWarp {
  using Scores = float[kTiles][4];

  const PackedSlab& all;
  const PackedRoom& room;
  const AttnArgs& a;
  const PackedWalk& walk;
  uint8_t* const shared;
  const int own;
  // Lanes hold columns 2t and 2t + 1 of each tile; totals and biases (by the first run of a group)
  // are those of a lane's positions.
  float acc[kTiles][kRuns][2][4], bias[kTiles][kRuns][2], peak[kTiles][2], total[kTiles][2];

  __device__ PackedWarp(const PackedSlab& slab, const PackedWalk& order, uint4* dynamic)
      : all(slab),
        room(slab.room),
        a(slab.slab.args),
        walk(order),
        shared(reinterpret_cast<uint8_t*>(dynamic)),
        own(uniform(threadIdx.x / 32)) {
    clear();
  }
  __device__ void clear() {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int h = 0; h < 2; ++h) peak[n][h] = -INFINITY, total[n][h] = 0.0f;
#pragma unroll
      for (int run = 0; run < kRuns; ++run) {
        bias[n][run][0] = bias[n][run][1] = 0.0f;
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
          for (int i = 0; i < 4; ++i) acc[n][run][j][i] = 0.0f;
      }
    }
  }
  __device__ __forceinline__ int k_dim() const {
    return kExact ? kRuns * kRun : static_cast<int>(a.cache.k_dim);
  }
  __device__ __forceinline__ int v_dim() const {
    return kExact ? kRuns * kRun : static_cast<int>(a.cache.v_dim);
  }
  __device__ __forceinline__ int k_pitch() const {
    return kExact ? (kRuns * kRun * bits / 128 | 1) * 16 : room.k_pitch;
  }
  __device__ __forceinline__ int v_pitch() const {
    return kExact ? (kRuns * kRun * bits / 128 | 1) * 16 : room.v_pitch;
  }
  static __device__ int lane() { return threadIdx.x % 32; }
  /// The warp's first of a span.
  __device__ int position(int span) const { return span + kOwn * own; }
  __device__ uint8_t* stage_of(int stage) const {
    return shared + room.ring + (own * room.stages + stage) * room.stage;
  }

  __device__ bool ends_group(int run) const { return ((run + 1) & (room.group_runs - 1)) == 0; }
  __device__ bool begins_group(int run) const { return (run & (room.group_runs - 1)) == 0; }

  /// Scores of 16 positions of a stage: lanes hold those of positions g and g + 8.
  __device__ __forceinline__ void make_scores(Scores& s, const uint8_t* stage, int from) const {
    const int l = lane();
    const uint32_t k_at = shared_address(stage + (from + l % 16) * k_pitch());
    const auto* const queries = reinterpret_cast<const uint4*>(shared) + l;
    const auto* sums = reinterpret_cast<const float*>(shared + room.query_sums) + l % 4 * 2;
    const auto* scales =
        reinterpret_cast<const uint16_t*>(stage + room.k_scales) + (from + l / 4) * room.k_groups;
    Scores part = {};
#pragma unroll
    for (int begin = 0; begin < kRuns; begin += 4) {
      uint32_t words[4][bits / 2];
#pragma unroll
      for (int r = 0; r < 4; ++r)
        if ((begin + r) * kRun < k_dim()) load_keys<bits>(words[r], k_at + (begin + r) * 4 * bits);
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int run = begin + r;
        if (run * kRun >= k_dim()) break;
        uint32_t k[2][4];
        decode_keys<type, bits>(k, words[r]);
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
          const uint4 q = queries[(run * kTiles + n) * 32];
          mma16<type>(part[n], k[0], q.x, q.y);
          mma16<type>(part[n], k[1], q.z, q.w);
        }
        if (ends_group(run)) scale_scores(s, part, scales++, sums), sums += kTiles * 8;
      }
    }
  }
  /// s += part * scale + bias * (sum of q), of a group; `part` becomes zero.
  __device__ __forceinline__ void scale_scores(Scores& s, Scores& part, const uint16_t* scales,
                                               const float* sums) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint16_t* const at = scales + 8 * h * room.k_groups;
      const float scale = widened<type>(at[0]).x;
      const float offset =
          fmaf(-kCodeOffset<bits>, scale, widened<type>(at[kOwn * room.k_groups]).x);
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        const float2 sum = *reinterpret_cast<const float2*>(sums + n * 8);
        float &x = s[n][2 * h], &y = s[n][2 * h + 1];
        x = fmaf(part[n][2 * h], scale, fmaf(offset, sum.x, x));
        y = fmaf(part[n][2 * h + 1], scale, fmaf(offset, sum.y, y));
        part[n][2 * h] = part[n][2 * h + 1] = 0.0f;
      }
    }
  }

  /// Plain keys straight from their page: a lane has eight elements in turn of positions g, g + 8.
  __device__ __forceinline__ void make_plain_scores(Scores& s, int64_t place) const {
    const int dim = k_dim();
    const auto* const keys =
        reinterpret_cast<const uint16_t*>(a.cache.k) + (place + lane() / 4) * dim + lane() % 4 * 8;
    const auto* const queries =
        reinterpret_cast<const uint4*>(shared + room.plain_queries) + lane();
#pragma unroll 1
    for (int run = 0; run * kRun < dim; run += 4) {
      uint4 k[4][2];
#pragma unroll
      for (int r = 0; r < 4; ++r)
#pragma unroll
        for (int h = 0; h < 2; ++h)
          if ((run + r) * kRun < dim) k[r][h] = load_input16(keys + (run + r) * kRun + 8 * h * dim);
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        if ((run + r) * kRun >= dim) break;
        const uint4 &x = k[r][0], &y = k[r][1];
        const uint32_t first[4] = {x.x, y.x, x.y, y.y}, second[4] = {x.z, y.z, x.w, y.w};
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
          const uint4 q = queries[((run + r) * kTiles + n) * 32];
          mma16<type>(s[n], first, q.x, q.y);
          mma16<type>(s[n], second, q.z, q.w);
        }
      }
    }
  }

  /// Scaled, capped, and -infinity where a row does not read; bits of what it does not.
  __device__ __forceinline__ unsigned finish_scores(Scores& s, int first) const {
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[n][i] *= all.slab.scale;
    if (all.slab.cap != 0.0f) {
#pragma unroll
      for (int n = 0; n < kTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) s[n][i] = tanhf(s[n][i]) * all.slab.cap;
    }
    unsigned unread = 0;
    if (walk.is_whole(first)) return unread;
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const Reads row = walk.reads[8 * n + lane() % 4 * 2 + h];
#pragma unroll
        for (int i = h; i < 4; i += 2)
          if (!row.has(first + lane() / 4 + i / 2 * 8))
            s[n][i] = -INFINITY, unread |= 1u << (4 * n + i);
      }
    return unread;
  }

  /// Scores become weights, 2^(score - peak); earlier sums shrink where the peak rises.
  __device__ __forceinline__ void soften(Scores& s) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      float shrink[2];
      bool rises = false;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float now = max_or_nan(s[n][h], s[n][2 + h]);
#pragma unroll
        for (int other = 4; other < 32; other *= 2)
          now = max_or_nan(now, __shfl_xor_sync(~0u, now, other));
        now = max_or_nan(now, peak[n][h]);
        // All may be -infinity, where the row reads nothing: then nothing weighs.
        const float base = now == -INFINITY ? 0.0f : now;
        shrink[h] = power_of_2(peak[n][h] - base);
        rises = rises || now != peak[n][h];
        peak[n][h] = now;
        s[n][h] = power_of_2(s[n][h] - base), s[n][2 + h] = power_of_2(s[n][2 + h] - base);
        total[n][h] = fmaf(total[n][h], shrink[h], s[n][h] + s[n][2 + h]);
      }
      if (!__any_sync(~0u, rises)) continue;
#pragma unroll
      for (int run = 0; run < kRuns; ++run) {
        bias[n][run][0] *= shrink[0], bias[n][run][1] *= shrink[1];
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
          for (int i = 0; i < 4; ++i) acc[n][run][j][i] *= shrink[i % 2];
      }
    }
  }

  /// Weights of 16 positions as products' columns, in two numbers of 16 bits.
  struct Weights {
    uint32_t high[kTiles][2], low[kTiles][2];
    template <DType of>
    __device__ __forceinline__ void split(int n, const float (&w)[4]) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint32_t most = narrowed<of>(w[2 * h], w[2 * h + 1]);
        const float2 near = widened<of>(most);
        low[n][h] = transposed(narrowed<of>(w[2 * h] - near.x, w[2 * h + 1] - near.y));
        high[n][h] = transposed(most);
      }
    }
  };
  /// acc += values · weights of a run.
  template <DType of>
  __device__ __forceinline__ void add_run(int run, const uint32_t (&v)[2][4], const Weights& w) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int j = 0; j < 2; ++j) mma16<of>(acc[n][run][j], v[j], w.high[n][0], w.high[n][1]);
#pragma unroll
      for (int j = 0; j < 2; ++j) mma16<of>(acc[n][run][j], v[j], w.low[n][0], w.low[n][1]);
    }
  }

  /// Weights times the scales of a group of values, which begins with `run`; its biases join.
  __device__ __forceinline__ void weigh(Weights& to, const Scores& weights, int run,
                                        const uint16_t* scales, unsigned unread) {
    float scale[2], offset[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint16_t* const at = scales + 8 * h * room.v_groups;
      scale[h] = widened<type>(at[0]).x;
      offset[h] = fmaf(-kCodeOffset<bits>, scale[h], widened<type>(at[kOwn * room.v_groups]).x);
    }
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      float w[4], b[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) w[i] = weights[n][i] * scale[i / 2], b[i] = offset[i / 2];
      if (unread != 0) {  // what is not read may have scales that are not finite
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if ((unread >> (4 * n + i) & 1) != 0) w[i] = b[i] = 0.0f;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
        bias[n][run][i % 2] = fmaf(weights[n][i], b[i], bias[n][run][i % 2]);
      to.template split<DType::bf16>(n, w);
    }
  }
  /// acc += values · weights of 16 positions of a stage.
  __device__ __forceinline__ void add_values(const Scores& weights, const uint8_t* stage, int from,
                                             unsigned unread) {
    const int l = lane();
    const uint32_t v_at = shared_address(stage + kOwn * k_pitch() + (from + l % 16) * v_pitch());
    const auto* scales =
        reinterpret_cast<const uint16_t*>(stage + room.v_scales) + (from + l / 4) * room.v_groups;
    Weights w;
#pragma unroll
    for (int begin = 0; begin < kRuns; begin += 4) {
      uint32_t words[4][bits / 2];
#pragma unroll
      for (int r = 0; r < 4; ++r)
        if ((begin + r) * kRun < v_dim())
          load_values<bits>(words[r], v_at + (begin + r) * 4 * bits);
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int run = begin + r;
        if (run * kRun >= v_dim()) break;
        if (begins_group(run)) weigh(w, weights, run, scales++, unread);
        uint32_t v[2][4];
        decode_values<bits>(v, words[r]);
        add_run<DType::bf16>(run, v, w);
      }
    }
  }

  /// Bits of a lane's positions 2t, 2t + 1, 2t + 8, 2t + 9 that a row reads.
  __device__ __forceinline__ unsigned read_by(const Reads& row, int first) const {
    unsigned is = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) is |= row.has(first + plain_position(i)) ? 1u << i : 0;
    return is;
  }
  static __device__ __forceinline__ int plain_position(int i) {
    return lane() % 4 * 2 + i % 2 + i / 2 * 8;
  }
  __device__ __forceinline__ void load_plain_values(uint32_t (&words)[4][2], int64_t place, int run,
                                                    unsigned is) const {
    const int dim = v_dim();
    const auto* const from =
        reinterpret_cast<const uint16_t*>(a.cache.v) + place * dim + run * kRun;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const uint16_t* const at = from + plain_position(i) * dim + run_place<bits>(j);
        words[i][j] = 0;
        if ((is >> i & 1) != 0) words[i][j] = __ldcg(reinterpret_cast<const unsigned*>(at));
      }
  }
  /// Whether there are values that are NaN or infinite, which would make NaN of a weight 0.
  __device__ __forceinline__ bool finds_bad(int64_t place, unsigned is) const {
    bool bad = false;
#pragma unroll 1
    for (int run = 0; run * kRun < v_dim(); ++run) {
      uint32_t words[4][2];
      load_plain_values(words, place, run, is);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        bad = bad || not_finite<type>(words[i][0]) || not_finite<type>(words[i][1]);
    }
    return __any_sync(~0u, bad) != 0;
  }
  /// acc += values · weights of a plain page: at once, or row by row, each of which leaves out what
  /// it does not read. Then the sums wait in the stage, which a plain span leaves free.
  __device__ __forceinline__ void add_plain_values(const Scores& weights, uint8_t* stage,
                                                   int64_t place, int first) {
    Weights w;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) w.template split<type>(n, weights[n]);
    unsigned is = 15;
    bool apart = false;
    if (!walk.is_whole(first)) {
      is = 0;
#pragma unroll 1
      for (int r = 0; r < walk.columns; r += walk.heads) is |= read_by(walk.reads[r], first);
      if (walk.columns > walk.heads) apart = finds_bad(place, is);
    }
    auto* const waiting = reinterpret_cast<float*>(stage) + lane();
    if (apart) put_sums(waiting, 0, walk.columns);
#pragma unroll 1
    for (int r = 0; r < walk.columns; r += apart ? walk.heads : walk.columns) {
      if (apart) {
        is = read_by(walk.reads[r], first);
        get_sums(waiting);
      }
#pragma unroll
      for (int run = 0; run < kRuns; ++run) {
        if (run * kRun >= v_dim()) break;
        uint32_t words[4][2], v[2][4];
        load_plain_values(words, place, run, is);
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            const uint32_t x = words[2 * h][j], y = words[2 * h + 1][j];
            v[j][2 * h] = low_halves(x, y), v[j][2 * h + 1] = high_halves(x, y);
          }
        add_run<type>(run, v, w);
      }
      if (apart) put_sums(waiting, r, r + walk.heads);
    }
    if (apart) get_sums(waiting);
  }
  static __device__ __forceinline__ int place_of_sum(int n, int run, int i) {
    return ((n * kRuns + run) * 8 + i) * 32;
  }
  __device__ __forceinline__ void get_sums(const float* from) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 8 * kRuns; ++i)
        acc[n][i / 8][i % 8 / 4][i % 4] = from[place_of_sum(n, i / 8, i % 8)];
  }
  /// Those of columns [begin, end).
  __device__ __forceinline__ void put_sums(float* to, int begin, int end) const {
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int column = 8 * n + lane() % 4 * 2 + h;
        if (column < begin || column >= end) continue;
#pragma unroll
        for (int i = h; i < 8 * kRuns; i += 2)
          to[place_of_sum(n, i / 8, i % 8)] = acc[n][i / 8][i % 8 / 4][i % 4];
      }
  }

  /// Adds the warp's positions of a span, from `first` on, of a stage or a plain page, 16 at a
  /// time: the loop fits the instruction cache.
  __device__ __forceinline__ void add(int first, bool packed, uint8_t* stage, int64_t place) {
#pragma unroll 1
    for (int from = 0; from < kOwn && first + from <= walk.last; from += 16) {
      Scores s = {};
      if (packed)
        make_scores(s, stage, from);
      else
        make_plain_scores(s, place + from);
      const unsigned unread = finish_scores(s, first + from);
      soften(s);
      if (packed)
        add_values(s, stage, from, unread);
      else
        add_plain_values(s, stage, place + from, first + from);
    }
  }

  /// What lanes have of a row becomes its sums, whose biases join.
  __device__ void join_lanes() {
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int other = 4; other < 32; other *= 2)
          total[n][h] += __shfl_xor_sync(~0u, total[n][h], other);
        float sum = 0.0f;
#pragma unroll
        for (int run = 0; run < kRuns; ++run) {
          if (begins_group(run)) {
            sum = bias[n][run][h];
#pragma unroll
            for (int other = 4; other < 32; other *= 2) sum += __shfl_xor_sync(~0u, sum, other);
          }
#pragma unroll
          for (int j = 0; j < 2; ++j) acc[n][run][j][h] += sum, acc[n][run][j][2 + h] += sum;
        }
      }
  }
};

}  // namespace stepless::kernels::sm80
