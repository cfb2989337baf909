// m = 1..8 and a k of 13 to 20 units on Hopper: what flat_lone does by teams of any size, by pairs
// of blocks. A warp has one unit of k for all of the pair's tiles. All that could be waited for at
// the start is left out: every tile has its place for totals, so that nobody asks for a free one,
// and the two warps of a chain meet at barriers of the hardware, which nobody makes.
#pragma once
#include "kernels/cuda/sm90/flat_lone.cuh"

namespace stepless::kernels::sm90 {

// What follows itself on an H200, us at one row and at eight; a layer is one of 8 billion weights
// (width 4096, inner 14336) in a step:
//
//                                          13824x5120   4096x4096  14336x4096  layer
// flat_lone, flat_few                      15.2  16.3   5.6  6.1   11.8  12.6  61.0  69.9
// as it is                                 12.2  12.9   4.9  5.2   10.6  10.9  55.2  62.5
// codes of the next unit read ahead, sums
// of x behind the first products           12.6  13.4   5.1  5.4   11.2  11.4  54.7  60.8
// the same, two blocks to each                          5.2  5.4   11.4  11.8  59.6  66.1
// rings of four places                     13.1  14.2
// chains to warps (64 registers of x): two
// warps a chain, or all of k a block's     15.4  16.6   5.7  6.3   11.4  13.4
//                                          13.8  15.7   5.4  6.3   10.6  12.3
// two units of a chain one after the other
// for all tiles, two blocks to each        14.2  15.2   5.8  6.7   12.0  12.7
// two tiles at a time                      15.3  15.9   6.5  7.1
// right shifts as products' upper halves   14.1  14.7   5.5  6.3   11.6  12.1
//
// (Rings of the last five had three to six places. Two blocks to each that send copies behind the
// products take 4.7 and 5.0 us for 4096x4096.) With rings of four 13824x5120 took 13.2 us at one
// row; 11.5 without copies of weights, 12.5 without decoding, 13.0 without handing on, 8.8 without
// all of these. Copies that are on their way when x is asked for keep it waiting: one unit goes
// before, the others behind.
constexpr int kPairBlocks = 2;
/// Warps of a block that multiply: two barriers for each two, of which a block has 15 beside its
/// own.
constexpr int kMostPairWays = 14;

/// Shared memory of a block: the sum that each chain's first warp hands on, a barrier and all
/// chains' sums for each tile that the block adds up (every other one), then what each warp has
/// beside its ring, and the ring.
struct PairRoom {
  static constexpr int kBarrierBytes = 128;
  int chains, totals, total_bytes, rings, warp_bytes, bytes;  // chains: of k
};

/// Waits for the other warp of a chain; or lets it know and goes on. Either makes what was written
/// to shared memory before seen behind it.
static __device__ __forceinline__ void meet_other(int barrier) {
  asm volatile("bar.sync %0,64;" ::"r"(barrier) : "memory");
}
static __device__ __forceinline__ void tell_other(int barrier) {
  asm volatile("bar.arrive %0,64;" ::"r"(barrier) : "memory");
}

/// A warp that multiplies.
template <class Kind, int kStages>
struct PairWarp {
  static constexpr int kUnitBytes = Kind::kUnitBytes;
  const PairRoom& room;
  LoneCopies<Kind>& copies;
  const int warp, m;
  const uint32_t shared;  // of the block
  Kind kind;
  uint32_t taken = 0;  // the place of the ring that is multiplied next
  uint32_t xf[kSteps][8];

  /// The unit's x as it lies in memory, for permute(): between the two go copies of weights.
  __device__ __forceinline__ void fetch_x(const uint8_t* x, int64_t x_row_bytes) {
    const int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
#pragma unroll
      for (uint32_t& word : xf[i]) word = 0;
      if (g < m) Kind::load_x(x + g * x_row_bytes + i * (kStepK * 2), t, xf[i]);
    }
  }
  __device__ __forceinline__ void permute() {
#pragma unroll
    for (uint32_t(&b)[8] : xf) Kind::permute(b, threadIdx.x & 3);
  }
  __device__ __forceinline__ void copy_next() {
    copies.next(taken == 0 ? (kStages - 1) * kUnitBytes : taken - kUnitBytes);
  }
  /// The warp's unit of all tiles, `tiles` of them.
  __device__ __forceinline__ void run(int tiles) {
    const uint32_t lane16 = (threadIdx.x & 31) * 16;
    const int unit = copies.way, full = 1 + warp / 2, empty = full + kMostPairWays / 2;
    const uint32_t second = kept(unit & 1);
    const uint32_t last = kept(second | ((unit + 1) * kUnitK == copies.w.k ? 1 : 0));
    const uint32_t hand = kept(shared + warp / 2 * LoneRoom::kSumBytes + lane16);
    const uint32_t chain = kept(PairRoom::kBarrierBytes + unit / 2 * LoneRoom::kSumBytes + lane16);
    const uint32_t even = kept(of_block(shared + room.totals, 0));
    const uint32_t odd = kept(of_block(shared + room.totals, 1));
    uint32_t total = 0;
#pragma unroll 1
    for (int tile = 0; tile < tiles; ++tile) {
      typename Kind::Codes c[kSteps];
      typename Kind::template Tile<kSteps> scaled;
      float dot[kSteps][Kind::kDots][4], acc[4] = {0, 0, 0, 0};
      kind.turn_to(tile);
      wait_copies<kStages - 2>();
      __syncwarp();
      scaled.fetch(kind, taken);
#pragma unroll
      for (int i = 0; i < kSteps; ++i) c[i] = kind.load(taken, i);
      copy_next();
      scaled.decode(kind);
      multiply_steps<Kind>(c, xf, dot);
      scaled.load_words(kind, taken);
      scaled.load_scales(kind, taken);
      scaled.load_decoded(kind, 0);
      taken = taken == (kStages - 1) * kUnitBytes ? 0 : taken + kUnitBytes;
      if (second != 0) {
        meet_other(full);
        load_sums(hand, acc);
        tell_other(empty);
      }
      scaled.add_sums(kind, acc);
#pragma unroll
      for (int i = 0; i < kSteps; ++i) scaled.add(acc, 0, i, dot[i]);
      if (last == 0) {
        if (tile > 0) meet_other(empty);
        store_sums(hand, acc);
        tell_other(full);
      } else {
        const uint32_t to = (tile % kPairBlocks == 0 ? even : odd) + total;
        if (tile % kPairBlocks != 0) total += room.total_bytes;
        send_sums(to + chain, to, acc);
      }
    }
    if (last == 0 && tiles > 0) meet_other(empty);
  }
};

/// Barriers of the totals that this block adds up, by the warp that does.
static __device__ __forceinline__ void make_pair_barriers(const PairRoom& room, uint32_t shared,
                                                          int own) {
#pragma unroll 1
  for (int i = threadIdx.x & 31; i < own; i += 32) {
    const uint32_t at = shared + room.totals + i * room.total_bytes;
    make_barrier(at, 1);
    publish_barriers();
    expect_bytes(at, room.total_bytes - PairRoom::kBarrierBytes);
  }
  __syncwarp();
}

/// The warp that adds up.
static __device__ __forceinline__ void add_pair(const FlatWeights& w, const LoneTiles& tiles,
                                                const PairRoom& room, uint32_t shared, int rank,
                                                int m) {
  constexpr int kAtOnce = 10;  // all of 5120
  const int lane = threadIdx.x & 31;
  uint32_t at = shared + room.totals;
#pragma unroll 1
  for (int index = rank; index < tiles.count; index += kPairBlocks, at += room.total_bytes) {
    const OutputTile tile = tiles.tile(index);
    float total[4] = {0, 0, 0, 0};
    wait(at, 0);
    add_chains<kAtOnce>(at + PairRoom::kBarrierBytes + lane * 16, room.chains, total);
    store_tile(w, tile, m, lane >> 2, 2 * (lane & 3), total);
  }
}

/// kEarly: copies of weights that go before x is awaited.
template <class Kind, int kStages, int kEarly, int kThreads>
static __global__ void __launch_bounds__(kThreads, 1)
    flat_pair(const __grid_constant__ typename Kind::Weights w, const uint8_t* x,
              int64_t x_row_bytes, int m, const __grid_constant__ LonePlan plan,
              const __grid_constant__ PairRoom room) {
  extern __shared__ __align__(128) uint8_t shared_bytes[];
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0);  // visibly the same in all lanes
  const int rank = team_rank(), unit = rank * plan.ways + warp;
  const uint32_t shared = shared_address(shared_bytes);
  const LoneTiles tiles(w, plan, team_index());
  let_next_start();
  if (warp == plan.ways) {
    make_pair_barriers(room, shared, (tiles.count + 1 - rank) / kPairBlocks);
    tell_team();
    wait_for_inputs();  // what y holds may still be read
    add_pair(w, tiles, room, shared, rank, m);
    return;
  }
  if (unit * kUnitK >= w.k) return tell_team();
  const int lane = threadIdx.x & 31;
  const uint32_t side = shared + room.rings + warp * room.warp_bytes;
  const uint32_t ring = side + Kind::kSideBytes;
  using Copies = LoneCopies<Kind>;
  Copies copies{
      w, plan, tiles, unit, 0, Copies::codes_in(ring, lane), Copies::scales_in(ring, lane)};
#pragma unroll 1
  for (int i = 0; i < kEarly; ++i) copies.next(i * Kind::kUnitBytes);
  tell_team();
  PairWarp<Kind, kStages> mine{room, copies, warp, m, shared, {w, tiles, ring, side, lane}};
  wait_for_inputs();
  mine.fetch_x(x + unit * (kUnitK * 2), x_row_bytes);
#pragma unroll 1
  for (int i = kEarly; i < kStages - 1; ++i) copies.next(i * Kind::kUnitBytes);
  mine.permute();
  mine.kind.keep_sums(mine.xf);
  if (unit % 2 != 0 || (unit + 1) * kUnitK == w.k) wait_for_team();  // who sends sums
  mine.run(tiles.count);
}

}  // namespace stepless::kernels::sm90
