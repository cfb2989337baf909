// The shares of tiled attention become rows of y.
#pragma once
#include "kernels/cuda/any/numbers.cuh"
#include "kernels/cuda/sm80/attention_parts.cuh"

namespace stepless::kernels::sm80 {

/// What a row starts with: a sink weighs and has no value.
static __device__ __forceinline__ float2 start_of(const AttnArgs& a, int head) {
  if (a.sinks == nullptr) return make_float2(-INFINITY, 0.0f);
  return make_float2(load(a.sinks, a.sinks_type, head) * kLog2e, 1.0f);
}

/// Rows of y that a block makes at a time, one per row and head.
constexpr int kMergeUnits = 16;

struct MergeRoom {
  float2 shrink[kMergeUnits][kShares];  // Shrink
  float total[kMergeUnits][kShares];
  unsigned there[kMergeUnits];  // bits of the shares that have read anything
};

/// Rows [first, first + rows) of the slab and heads [head, head + heads).
struct MergeUnits {
  int first, rows, head, heads;
  __device__ int count() const { return rows * heads; }
  __device__ int row(int unit) const { return first + unit / heads; }
  __device__ int head_of(int unit) const { return head + unit % heads; }
};

/// How much each share of each unit weighs: 16 lanes to a unit.
static __device__ void weigh_shares(const AttnSlab& slab, const MergeUnits& units, unsigned shares,
                                    MergeRoom& room) {
  const int share = threadIdx.x % kShares;
#pragma unroll 1
  for (int step = 0; step < kMergeUnits * kShares / kAttnThreads; ++step) {
    const int unit = step * (kAttnThreads / kShares) + threadIdx.x / kShares;
    float2 sums = make_float2(-INFINITY, 0.0f), start = sums;
    if (unit < units.count()) {
      const int64_t at = slab.unit_of(units.row(unit), units.head_of(unit)) * kShares + share;
      if ((shares >> share & 1) != 0) sums = __ldcg(slab.sums + at);
      start = start_of(slab.args, units.head_of(unit));
    }
    float now = max_or_nan(start.x, sums.x);
#pragma unroll
    for (int other = 1; other < kShares; other *= 2) {
      const float before = __shfl_up_sync(~0u, now, other, kShares);
      if (share >= other) now = max_or_nan(now, before);
    }
    float before = __shfl_up_sync(~0u, now, 1, kShares);
    if (share == 0) before = start.x;
    const bool is = sums.x != -INFINITY;
    const unsigned there = __ballot_sync(~0u, is) >> (threadIdx.x % 32 / kShares * kShares);
    const Shrink shrink = Shrink::of(before, now, sums.x);
    room.shrink[unit][share] = make_float2(shrink.mine, shrink.theirs);
    room.total[unit][share] = sums.y;
    if (share == 0) room.there[unit] = there & ((1u << kShares) - 1);
  }
}

/// Up to four columns of y.
template <DType type>
static __device__ void store_columns(const AttnSlab& slab, int row, int head, int column,
                                     float4 value) {
  const AttnArgs& a = slab.args;
  const int dim = static_cast<int>(a.cache.v_dim);
  uint16_t* const to = static_cast<uint16_t*>(a.y) + (slab.first_row + row) * a.y_stride +
                       static_cast<int64_t>(head) * dim + column;
  const uint2 all = make_uint2(narrowed<type>(value.x, value.y), narrowed<type>(value.z, value.w));
  if (dim % 4 == 0 && a.y_stride % 4 == 0) {
    *reinterpret_cast<uint2*>(to) = all;
    return;
  }
  for (int e = 0; e < 4; ++e)
    if (column + e < dim) to[e] = static_cast<uint16_t>((e < 2 ? all.x : all.y) >> 16 * (e % 2));
}

/// y of the units, at most kMergeUnits, from the sums of `shares` (bits), in order. All threads of
/// a block of kAttnThreads come here.
template <DType type>
static __device__ void merge_units(const AttnSlab& slab, const MergeUnits& units, unsigned shares,
                                   MergeRoom& room) {
  weigh_shares(slab, units, shares, room);
  __syncthreads();
  const int quads = slab.pitch / 4;
#pragma unroll 1
  for (int i = threadIdx.x; i < units.count() * quads; i += kAttnThreads) {
    const int unit = i / quads, column = (i - unit * quads) * 4;
    const int row = units.row(unit), head = units.head_of(unit);
    const unsigned there = room.there[unit];
    const float* const from = slab.values + slab.unit_of(row, head) * kShares * slab.pitch + column;
    float4 v[kShares];
#pragma unroll
    for (int s = 0; s < kShares; ++s)
      if ((there >> s & 1) != 0) v[s] = load_l2(from + s * slab.pitch);
    float total = start_of(slab.args, head).y;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
    for (int s = 0; s < kShares; ++s) {
      if ((there >> s & 1) == 0) continue;
      const Shrink shrink{room.shrink[unit][s].x, room.shrink[unit][s].y};
      total = shrink.sum(total, room.total[unit][s]);
      sum = shrink.sum(sum, v[s]);
    }
    const float per = 1.0f / total;
    store_columns<type>(slab, row, head, column,
                        make_float4(sum.x * per, sum.y * per, sum.z * per, sum.w * per));
  }
}

/// A block: up to kMergeHeads heads of one row.
constexpr int kMergeHeads = 4;

template <DType type>
__global__ void __launch_bounds__(kAttnThreads) merge_tiles(const __grid_constant__ AttnSlab slab) {
  __shared__ MergeRoom room;
  begin_early();
  const int heads = static_cast<int>(slab.args.heads), head = blockIdx.x * kMergeHeads;
  const MergeUnits units{static_cast<int>(blockIdx.y), 1, head, min(kMergeHeads, heads - head)};
  merge_units<type>(slab, units, (1u << kShares) - 1, room);
}

}  // namespace stepless::kernels::sm80
