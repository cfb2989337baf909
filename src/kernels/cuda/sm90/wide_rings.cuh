// How x and weights come to a wide tile (flat_wide.cuh): a warpgroup of the block brings them to
// rings in shared memory, item after item, while the two others multiply; a barrier tells that a
// place is full and one that it is empty.
#pragma once
#include "kernels/cuda/sm90/wide_formats.cuh"

namespace stepless::kernels::sm90 {

constexpr int kGroups = 2, kWideThreads = 128 * kGroups, kWideWarps = kWideThreads / 32;
constexpr int kWideBlock = kWideThreads + 128, kWeightWarps = 2;
constexpr int kWideOutputs = 64 * kGroups, kWideCols = 128;
constexpr int kChainUnits = kChainK / kUnitK;

/// Shared memory: a unit of x, each step in a place of its own, units of weights, totals of parts
/// and what chains before left, barriers. Tiles of fewer columns have their steps where those of
/// kWideCols begin. Of the 227 KB that a block may have, one is for what kernels declare
/// themselves.
template <class Kind>
struct WideRoom {
  using Unit = WideUnit<kWideCols, Kind>;
  static constexpr int kMost = 226 << 10, kSums = kWideCols / 2;  // of a thread
  static constexpr int kUnitBytes = Kind::Format::kUnitBytes;
  static constexpr int kStageBytes = kWideWarps * kUnitBytes;
  static constexpr int kStages = kUnitBytes > 3072 ? 2 : 3;  // of weights; 8 bits
  static constexpr int kWeights = Unit::kBytes;
  static constexpr int kTotals = kWeights + kStages * kStageBytes;
  static constexpr int kBefore = kTotals + kWideThreads * kSums * 4;
  static constexpr int kBarrierBytes = 2 * (kSteps + kStages) * 8;
  // Sums that stay in registers from one chain to the next: with more than 48 these would not do
  // for operands of a step ahead.
  static constexpr int kFitting = (kMost - kBarrierBytes - kBefore) / (kWideThreads * 4);
  static constexpr int kKept = kFitting >= kSums - 48 ? 48 : kSums - kFitting;
  static constexpr int kBarriers = kBefore + kWideThreads * (kSums - kKept) * 4;
  static constexpr int kWeightBarriers = kBarriers + 2 * kSteps * 8;
  static constexpr int kBytes = kBarriers + kBarrierBytes;
  static_assert(kBytes <= kMost);

  static __device__ __forceinline__ void make_barriers(uint32_t shared) {
    for (int i = 0; i < kSteps; ++i) {
      make_barrier(shared + kBarriers + i * 8, 1);
      make_barrier(shared + kBarriers + (kSteps + i) * 8,
                   Kind::kLoadsSums ? kWideThreads : kWideWarps);
    }
    for (int i = 0; i < kStages; ++i) {
      make_barrier(shared + kWeightBarriers + i * 8, 2 * 32 * kWeightWarps);
      make_barrier(shared + kWeightBarriers + (kStages + i) * 8, kWideThreads);
    }
    publish_barriers();
  }
};

/// Where someone is in both rings. Units of x lie in one place, of which each step is told apart.
template <class Kind>
struct WideRings {
  using Room = WideRoom<Kind>;
  uint32_t shared;
  int stage = 0;
  uint32_t parity = 0, x_parity = 0;

  __device__ __forceinline__ uint32_t x_at(int step) const {
    return shared + Room::Unit::step_at(step);
  }
  __device__ __forceinline__ uint32_t x_full(int step) const {
    return shared + Room::kBarriers + step * 8;
  }
  __device__ __forceinline__ uint32_t x_empty(int step) const { return x_full(step) + kSteps * 8; }
  __device__ __forceinline__ uint32_t weights() const {
    return shared + Room::kWeights + stage * Room::kStageBytes;
  }
  __device__ __forceinline__ uint32_t full() const {
    return shared + Room::kWeightBarriers + stage * 8;
  }
  __device__ __forceinline__ uint32_t empty() const { return full() + Room::kStages * 8; }
  __device__ __forceinline__ void advance() {
    x_parity ^= 1;
    if (++stage == Room::kStages) stage = 0, parity ^= 1;
  }
};

/// What a block multiplies at a stretch: the first unit of k, how many follow, steps in all.
struct WideSpan {
  int unit, units, steps;
};
/// Parts [part, part + parts) of a k.
static __device__ __forceinline__ WideSpan span_of(int k, int part, int parts) {
  const int unit = part * kPartUnits, units = (k + kUnitK - 1) / kUnitK;
  return {unit, min(parts * kPartUnits, units - unit),
          min(parts * kPartUnits * kSteps, k / kStepK - unit * kSteps)};
}

/// One thread: an item's x, `x` that of its first unit. Where k ends within a unit, the other steps
/// are told of as if they were there.
template <int kCols, class Kind>
static __device__ void bring_x(WideRings<Kind>& rings, const uint8_t* x, const WideSpan& span) {
  using Unit = WideUnit<kCols, Kind>;
  for (int i = 0; i < span.units; ++i, x += Unit::kBytes, rings.advance())
    for (int step = 0; step < kSteps; ++step) {
      wait(rings.x_empty(step), rings.x_parity ^ 1);
      // With a unit's first step comes what lies in front of it.
      const int front = step == 0 ? Unit::kFront : 0, at = Unit::step_at(step) - front;
      if (i * kSteps + step < span.steps)
        copy_bulk(rings.x_at(step) - front, x + at, front + Unit::kStep, rings.x_full(step));
      else
        arrive(rings.x_full(step));
    }
}

/// A warp: half of an item's weights. place(i, weight) says which the block's i-th tile of 16
/// outputs belongs to, and returns its number there.
template <class Kind, class Place>
static __device__ void bring_weights(WideRings<Kind>& rings, const typename Kind::Call& call,
                                     int half, const WideSpan& span, const Place& place) {
  constexpr int kTiles = kWideWarps / kWeightWarps;
  for (int unit = span.unit; unit < span.unit + span.units; ++unit, rings.advance()) {
    wait(rings.empty(), rings.parity ^ 1);
#pragma unroll 1
    for (int i = half * kTiles; i < (half + 1) * kTiles; ++i) {
      FlatWeight w;
      const int tile = place(i, w);
      Kind::copy(w, call, tile, unit, rings.weights() + i * Kind::Format::kUnitBytes,
                 threadIdx.x % 32);
    }
    arrive_after_copies(rings.full());
    arrive(rings.full());  // for scales that were stored, not copied
  }
}

/// The warpgroup that brings: each(x, weights) calls one of them for every item with its rings.
template <class Kind, class Each>
static __device__ __forceinline__ void bring(uint32_t shared, const Each& each) {
  give_registers<40>();
  WideRings<Kind> rings{shared};
  const int warp = threadIdx.x / 32 - kWideWarps;
  if (warp > kWeightWarps || (warp == 0 && threadIdx.x % 32 != 0)) return;
  if (warp == 0) wait_for_inputs();
  each(rings, warp - 1);
}

}  // namespace stepless::kernels::sm90
