// What flat_lone reads and where it puts it: how rows and k go over blocks and warps, how a block
// lays out its shared memory, a warp's asynchronous copies.
#pragma once
#include "kernels/cuda/sm90/number_codes.cuh"
#include "kernels/cuda/sm90/output_tile.cuh"

namespace stepless::kernels::sm90 {

using namespace sm80;

// The code of a step's kernels is cold when their turn comes, so what is rarely needed stays out of
// line here: a copy of flat_lone of its own for gate and up, faster by itself, made a layer 2 us
// slower on an H200.

/// How a launch's tiles and k go over blocks and warps: 16 rows, or 8 of a gate and of its partner.
/// By rows all blocks would have the same to read, but some a tile more to multiply, where a weight
/// begins: a layer of 3 billion weights took 47.2 us instead of 45.1.
struct LonePlan {
  int team;            // blocks that share rows, a cluster
  int ways, row_ways;  // a block's warps along k, each with 256 of it at a time, and along tiles
  int band;            // tiles that a warp goes through before it turns to its next 256 k
  int slots;           // tiles whose sums are under way, a multiple of team and of row_ways
  uint32_t odd_turns;  // 1: the slots go around a band an odd number of times
  int tiles, more;     // of a team; teams that have one more
};

/// Shared memory of a block, as the host lays it out: what its chains hand on in each slot, the
/// totals of its own slots (every `team`th), then what each warp has beside its ring, and the ring,
/// and squares of units whose norm the block makes. Of a slot's
/// barriers, one says for each chain that its first half is there, the last that the slot is free
/// again; of a total's, that all chains are there.
struct LoneRoom {
  static constexpr int kSumBytes = kTileRows * 8 * 4;
  int chains, own_chains;  // of k, and those that this block has halves of
  int hand_bytes, total_bytes, totals, rings, warp_bytes, squares, bytes;
  __host__ __device__ constexpr int half(int own) const { return own_chains * kSumBytes + own * 8; }
  __host__ __device__ constexpr int free() const { return half(own_chains); }
  __host__ __device__ constexpr int full() const { return chains * kSumBytes; }
};

/// A team's tiles in the line of all weights' tiles.
struct LoneTiles {
  const FlatWeights& w;
  int first, count;

  __device__ LoneTiles(const FlatWeights& weights, const LonePlan& plan, int team)
      : w(weights),
        first(team * plan.tiles + min(team, plan.more)),
        count(plan.tiles + (team < plan.more ? 1 : 0)) {}
  __device__ __forceinline__ int height() const { return w.gated ? kTileRows / 2 : kTileRows; }
  __device__ __forceinline__ OutputTile tile(int index) const {
    int weight = 0, before = 0;
#pragma unroll
    for (int i = 0; i + 1 < kMostTogether; ++i)
      if (first + index >= w.end[i]) weight = i + 1, before = w.end[i];
    const int row = (first + index - before) * height();
    return {weight, row, w.one[weight].n - row};
  }
};

/// Which 16 bytes of a unit's codes a lane copies.
template <class Format>
struct LaneCopies {
  static constexpr int kCodeBytes = kUnitK / 8 * Format::kBits, kChunks = kCodeBytes / 16;
  static constexpr int kCount = kTileRows * kChunks / 32;
  /// Lanes side by side in a row, all rows alike. Two of them, 32 bytes of each row at a time, are
  /// too few: 13824 x 5120 of 5 bits takes 19.9 us instead of 16.5 on an H200, of 3 bits 13.5
  /// instead of 13.0.
  static constexpr int kAcross = kChunks & -kChunks;
  static constexpr bool kEven = kAcross > 2;
};

/// Where each copy of a lane is, past the first row of a tile and of a place of the ring; `high`:
/// from a tile's first row to its ninth.
template <class Format, bool kEven = LaneCopies<Format>::kEven>
struct LanePlaces {
  static constexpr int kAcross = LaneCopies<Format>::kAcross, kDown = 32 / kAcross;  // rows at once
  static constexpr int kAlong = LaneCopies<Format>::kChunks / kAcross, kEight = 8 / kDown * kAlong;
  const int down_bytes;
  const int64_t high;

  __device__ __forceinline__ LanePlaces(int, int row_bytes, int64_t high)
      : down_bytes(row_bytes * kDown), high(high) {}
  static __device__ __forceinline__ int row(int lane, int i) {
    return static_cast<int>(static_cast<unsigned>(lane) / kAcross) + i / kAlong * kDown;
  }
  /// What is the same in all of a lane's copies.
  static __device__ __forceinline__ int64_t first(int lane, int row_bytes) {
    return int64_t{row(lane, 0)} * row_bytes + lane % kAcross * 16;
  }
  static __device__ __forceinline__ uint32_t first_to(int lane) {
    return static_cast<uint32_t>(row(lane, 0) * Format::kRowBytes + lane % kAcross * 16);
  }
  __device__ __forceinline__ int64_t from(int i) const {
    const int along = i % kAlong * kAcross * 16;
    return i < kEight ? int64_t{i / kAlong} * down_bytes + along
                      : high + (i - kEight) / kAlong * down_bytes + along;
  }
  __device__ __forceinline__ uint32_t to(int i) const {
    return static_cast<uint32_t>(i / kAlong * kDown * Format::kRowBytes +
                                 i % kAlong * kAcross * 16);
  }
};
/// Row after row, where rows do not go into 32 lanes.
template <class Format>
struct LanePlaces<Format, false> {
  static constexpr int kChunks = LaneCopies<Format>::kChunks, kCount = LaneCopies<Format>::kCount;
  uint32_t froms[kCount], tos[kCount];
  int64_t more;  // for rows from the ninth on
  bool is_low[kCount];

  __device__ __forceinline__ LanePlaces(int lane, int row_bytes, int64_t high)
      : more(high - 8 * row_bytes) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int at = row(lane, i), byte = (i * 32 + lane) % kChunks * 16;
      froms[i] = static_cast<uint32_t>(at * row_bytes + byte), is_low[i] = at < 8;
      tos[i] = static_cast<uint32_t>(at * Format::kRowBytes + byte);
    }
  }
  static __device__ __forceinline__ int row(int lane, int i) { return (i * 32 + lane) / kChunks; }
  static __device__ __forceinline__ int64_t first(int, int) { return 0; }
  static __device__ __forceinline__ uint32_t first_to(int) { return 0; }
  __device__ __forceinline__ int64_t from(int i) const { return froms[i] + (is_low[i] ? 0 : more); }
  __device__ __forceinline__ uint32_t to(int i) const { return tos[i]; }
};

/// A warp's copies. A lane has its places in the two runs of 8 rows that make a tile: a weight's
/// neighbours, or a gate's and an up's.
template <class Kind>
struct LoneCopies {
  using Lanes = LaneCopies<Kind>;
  using Places = LanePlaces<Kind>;
  static constexpr int kRowBytes = Kind::kRowBytes, kScaleBytes = Kind::kScaleBytes;
  const FlatWeights& w;
  const LonePlan& plan;
  const LoneTiles& tiles;
  const int way, row_way;              // way: along the k of the team
  const uint32_t codes_to, scales_to;  // in the ring's first place
  const int lane = threadIdx.x & 31;
  const Places places{lane, w.k / 8 * Kind::kBits,
                      w.gated ? w.one[1].codes - w.one[0].codes : int64_t{w.k} * Kind::kBits};
  const uint32_t jump =
      static_cast<uint32_t>(plan.row_ways * tiles.height() * (w.k / 8 * Kind::kBits));
  const uint32_t scales_jump = jump / (Kind::kGroup * Kind::kBits) * (8 * Kind::kScaleSize);
  int band = 0, unit = way, tile = row_way;  // where it aims next
  const uint8_t *codes = nullptr, *scales = nullptr;
  int whole = 0;  // tiles with all their rows that follow by mere jumps
  int left = 0;   // rows of the tile; 0: there is none

  /// The lane's places, of codes and of what it copies beside them, in the first unit of a warp's
  /// ring.
  static __device__ __forceinline__ uint32_t codes_in(uint32_t ring, int lane) {
    return kept(ring + Places::first_to(lane));
  }
  static __device__ __forceinline__ uint32_t scales_in(uint32_t ring, int lane) {
    return kept(ring + Kind::kScalesAt + lane % 16 * kRowBytes + lane / 16 * kScaleBytes);
  }
  /// Onto the next unit's tile.
  __device__ __forceinline__ void aim() {
    const int units = w.k / kUnitK;
    left = 0;
    if (way >= units) return;
    int end = min(band + plan.band, tiles.count);
    while (tile >= end) {
      if (band >= tiles.count) return;
      unit += plan.ways * plan.team;
      if (unit >= units) unit = way, band += plan.band;
      tile = band + row_way, end = min(band + plan.band, tiles.count);
    }
    const OutputTile to = tiles.tile(tile);
    const int64_t row_bytes = w.k / 8 * Kind::kBits;
    const int64_t scale_bytes = w.k / Kind::kGroup * Kind::kScaleSize;
    const int s = w.gated ? lane & 7 : lane & 15;
    const FlatWeight& own = w.one[w.gated && (lane & 8) != 0 ? 1 : to.weight];
    codes = w.one[to.weight].codes + to.row * row_bytes + unit * Lanes::kCodeBytes +
            Places::first(lane, static_cast<int>(row_bytes));
    scales = Kind::scales_of(own, lane) + (to.row + s) * scale_bytes +
             unit * (kUnitK / Kind::kGroup * Kind::kScaleSize);
    left = to.rows;
    whole = max(0, min((left >> (w.gated ? 3 : 4)) - 1, end - 1 - tile));
    if (plan.row_ways > 1) whole = whole >= plan.row_ways ? 1 : 0;  // for want of a division
    tile += (whole + 1) * plan.row_ways;
  }
  /// Starts the next unit's copies to a place of the ring; none are left: an empty group of them.
  /// Rows that there are not are not read; what is computed of them is not stored.
  __device__ __forceinline__ void next(uint32_t place) {
    if (whole > 0)
      --whole, codes += jump, scales += scales_jump;
    else
      aim();
    const uint32_t to = codes_to + place;
    if (left >= tiles.height()) {
#pragma unroll
      for (int i = 0; i < Lanes::kCount; ++i)
        copy_async<16>(to + places.to(i), codes + places.from(i));
      copy_async<kScaleBytes>(scales_to + place, scales);
    } else {
#pragma unroll
      for (int i = 0; i < Lanes::kCount; ++i) {
        const int row = Places::row(lane, i);
        if ((w.gated ? row & 7 : row) < left)
          copy_async<16>(to + places.to(i), codes + places.from(i));
      }
      if ((w.gated ? lane & 7 : lane & 15) < left)
        copy_async<kScaleBytes>(scales_to + place, scales);
    }
    commit_copies();
  }
};

}  // namespace stepless::kernels::sm90
