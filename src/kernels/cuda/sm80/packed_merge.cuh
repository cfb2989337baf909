// Sums of parts of the KV axis become rows of y, in one order wherever they meet: the shares of a
// class by each warp, then the warps, then the classes.
#pragma once
#include "kernels/cuda/sm80/attention_merge.cuh"
#include "kernels/cuda/sm80/packed_warp.cuh"

namespace stepless::kernels::sm80 {

/// Sums of a part: peak, total, and four columns.
struct PackedSums {
  float peak, total;
  float4 values;

  static __device__ PackedSums none() {
    return {-INFINITY, 0.0f, make_float4(0.0f, 0.0f, 0.0f, 0.0f)};
  }
  __device__ void fold(const PackedSums& next) {
    if (next.peak == -INFINITY) return;
    const float now = max_or_nan(peak, next.peak);
    const Shrink shrink = Shrink::of(peak, now, next.peak);
    peak = now, total = shrink.sum(total, next.total), values = shrink.sum(values, next.values);
  }
};

/// A column of a tile, as a row and head.
struct PackedUnits {
  int first, head, heads, count;
  __device__ int row(int column) const { return first + column / heads; }
  __device__ int head_of(int column) const { return head + column % heads; }
};

/// A warp's sums of a share join those of its class in shared memory, or go to their slot.
template <class Warp, int kTiles, int kRuns, int bits>
static __device__ __forceinline__ void end_share(Warp& w, const PackedUnits& units, int share) {
  w.join_lanes();
  const int v_dim = static_cast<int>(w.a.cache.v_dim), pitch = w.room.value_pitch(v_dim);
  auto* const sums = reinterpret_cast<float2*>(w.shared + w.room.sums) + w.own * kTiles * 8;
  auto* const values =
      reinterpret_cast<float*>(w.shared + w.room.values) + w.own * w.room.columns * pitch;
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int column = 8 * n + w.lane() % 4 * 2 + h;
      const bool is = column < units.count;
      const float2 mine = make_float2(w.peak[n][h], w.total[n][h]);
      if (w.all.by_class()) {
        const float2 before = sums[column];
        const float now = max_or_nan(before.x, mine.x);
        const Shrink shrink = Shrink::of(before.x, now, mine.x);
        __syncwarp();
        if (!is || mine.x == -INFINITY) continue;  // nothing has been read
        if (w.lane() < 4) sums[column] = make_float2(now, shrink.sum(before.y, mine.y));
        float* const to = values + column * pitch;
#pragma unroll
        for (int run = 0; run < 2 * kRuns; ++run) {
          if (run / 2 * kRun >= v_dim) break;
          auto* const at =
              reinterpret_cast<float2*>(to + run / 2 * kRun + run_place<bits>(run % 2));
          const float2 old = before.x == -INFINITY ? make_float2(0.0f, 0.0f) : *at;
          const float* const two = w.acc[n][run / 2][run % 2];
          *at = make_float2(shrink.sum(old.x, two[h]), shrink.sum(old.y, two[2 + h]));
        }
      } else if (is) {
        const int64_t slot =
            w.all.slot_of(units.row(column), units.head_of(column), share * kAttnWarps + w.own);
        if (w.lane() < 4) w.all.slab.sums[slot] = mine;
        if (mine.x == -INFINITY) continue;
        float* const to = w.all.slab.values + slot * v_dim;
#pragma unroll
        for (int run = 0; run < 2 * kRuns; ++run) {
          if (run / 2 * kRun >= v_dim) break;
          const float* const two = w.acc[n][run / 2][run % 2];
          *reinterpret_cast<float2*>(to + run / 2 * kRun + run_place<bits>(run % 2)) =
              make_float2(two[h], two[2 + h]);
        }
      }
    }
  __syncwarp();
  w.clear();
}

/// No sums of a class yet, of a warp.
template <class Warp, int kTiles>
static __device__ void begin_class(const Warp& w) {
  auto* const sums = reinterpret_cast<float2*>(w.shared + w.room.sums) + w.own * kTiles * 8;
  for (int i = w.lane(); i < kTiles * 8; i += 32) sums[i] = make_float2(-INFINITY, 0.0f);
  __syncwarp();
}

/// The warps' sums of a class go to its slot. All threads of the block come here.
template <class Warp, int kTiles>
static __device__ void end_class(const Warp& w, const PackedUnits& units, int number) {
  const int v_dim = static_cast<int>(w.a.cache.v_dim), quads = v_dim / 4;
  const int pitch = w.room.value_pitch(v_dim);
  const auto* const sums = reinterpret_cast<const float2*>(w.shared + w.room.sums);
  const auto* const values = reinterpret_cast<const float*>(w.shared + w.room.values);
  __syncthreads();
#pragma unroll 1
  for (int i = threadIdx.x; i < units.count * quads; i += kAttnThreads) {
    const int column = i / quads, at = (i - column * quads) * 4;
    PackedSums part = PackedSums::none();
#pragma unroll 1
    for (int warp = 0; warp < kAttnWarps; ++warp) {
      const float2 own = sums[warp * kTiles * 8 + column];
      if (own.x == -INFINITY) continue;
      part.fold({own.x, own.y,
                 *reinterpret_cast<const float4*>(values +
                                                  (warp * w.room.columns + column) * pitch + at)});
    }
    const int64_t slot = w.all.slot_of(units.row(column), units.head_of(column), number);
    *reinterpret_cast<float4*>(w.all.slab.values + slot * v_dim + at) = part.values;
    if (at == 0) w.all.slab.sums[slot] = make_float2(part.peak, part.total);
  }
  __syncthreads();
}

/// Sums of the shares of a class by one warp, of which `there` (bits) have been added.
static __device__ __forceinline__ PackedSums class_of_warp(const PackedSlab& all, int64_t first,
                                                           int number, int warp, unsigned there,
                                                           int column) {
  const auto v_dim = static_cast<int>(all.slab.args.cache.v_dim);
  PackedSums parts[kShares / kClasses];
#pragma unroll
  for (int i = 0; i < kShares / kClasses; ++i) {
    const int share = number + i * kClasses;
    parts[i] = PackedSums::none();
    if ((there >> share & 1) == 0) continue;
    const int64_t slot = first + share * kAttnWarps + warp;
    const float2 sums = __ldcg(all.slab.sums + slot);
    parts[i] = {sums.x, sums.y, load_l2(all.slab.values + slot * v_dim + column)};
  }
  PackedSums sum = PackedSums::none();
#pragma unroll
  for (int i = 0; i < kShares / kClasses; ++i) sum.fold(parts[i]);
  return sum;
}

/// y of a tile. `there`: bits of its classes or shares.
template <DType type>
static __device__ void merge_packed(const PackedSlab& all, const PackedUnits& units,
                                    unsigned there) {
  const auto v_dim = static_cast<int>(all.slab.args.cache.v_dim);
  const int quads = v_dim / 4;
#pragma unroll 1
  for (int i = threadIdx.x; i < units.count * quads; i += kAttnThreads) {
    const int unit = i / quads, column = (i - unit * quads) * 4;
    const int row = units.row(unit), head = units.head_of(unit);
    const float2 start = start_of(all.slab.args, head);
    PackedSums sum{start.x, start.y, make_float4(0.0f, 0.0f, 0.0f, 0.0f)};
    const int64_t first = all.slot_of(row, head, 0);
    PackedSums parts[kClasses];
    if (all.by_class()) {
#pragma unroll
      for (int q = 0; q < kClasses; ++q) {
        parts[q] = PackedSums::none();
        if ((there >> q & 1) == 0) continue;
        const float2 sums = __ldcg(all.slab.sums + first + q);
        parts[q] = {sums.x, sums.y, load_l2(all.slab.values + (first + q) * v_dim + column)};
      }
#pragma unroll
      for (int q = 0; q < kClasses; ++q) sum.fold(parts[q]);
    } else {
#pragma unroll 1
      for (int q = 0; q < kClasses; ++q) {
#pragma unroll
        for (int warp = 0; warp < kAttnWarps; ++warp)
          parts[warp] = class_of_warp(all, first, q, warp, there, column);
        PackedSums of_class = PackedSums::none();
#pragma unroll
        for (int warp = 0; warp < kAttnWarps; ++warp) of_class.fold(parts[warp]);
        sum.fold(of_class);
      }
    }
    const float per = 1.0f / sum.total;
    store_columns<type>(all.slab, row, head, column,
                        make_float4(sum.values.x * per, sum.values.y * per, sum.values.z * per,
                                    sum.values.w * per));
  }
}

}  // namespace stepless::kernels::sm80
