// m = 1..8 on Hopper, in the order of sm80/flat_units.cuh and with its bits. A warp owns 256 k, its
// x in registers, and walks down its rows behind a private ring of copies. The two warps of a chain
// hand its sums on in shared memory, where one more warp adds up the parts of finished tiles: no
// barrier of the block stands in the loop. A k of more warps than a block has is a cluster's.
#pragma once
#include "kernels/cuda/any/team.cuh"
#include "kernels/cuda/sm90/lone_kinds.cuh"
#include "kernels/cuda/sm90/lone_norm.cuh"

namespace stepless::kernels::sm90 {

static __device__ __forceinline__ void arrive_at_block(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _,[%0];" ::"r"(barrier) : "memory");
}
/// Sums whose bytes a barrier beside them waits for.
static __device__ __forceinline__ void send_sums(uint32_t to, uint32_t barrier,
                                                 const float (&sums)[4]) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 "
      "[%0],{%1,%2,%3,%4},[%5];" ::"r"(to),
      "f"(sums[0]), "f"(sums[1]), "f"(sums[2]), "f"(sums[3]), "r"(barrier)
      : "memory");
}
static __device__ __forceinline__ int team_rank() {
  int rank;
  asm("mov.u32 %0,%%cluster_ctarank;" : "=r"(rank));
  return rank;
}
static __device__ __forceinline__ int team_index() {
  int index;
  asm("mov.u32 %0,%%clusterid.x;" : "=r"(index));
  return index;
}
/// A warp's way through the slots, tile by tile: a block of the team owns each in turn.
struct LoneSlot {
  uint32_t hand, total;  // past the first slot's
  int owner = 0;
  uint32_t parity;

  __device__ LoneSlot(const LoneRoom& room, int row_way, uint32_t turn)
      : hand(row_way * room.hand_bytes),
        total(row_way * room.total_bytes),  // a team's warps have one row way
        parity(turn) {}
  __device__ __forceinline__ void advance(const LonePlan& plan, const LoneRoom& room) {
    hand += plan.row_ways * room.hand_bytes;
    if (++owner == plan.team) owner = 0, total += plan.row_ways * room.total_bytes;
    if (hand >= static_cast<uint32_t>(room.totals)) {
      hand -= room.totals, total -= room.rings - room.totals, parity ^= 1;
    }
  }
};

/// A warp of the block that multiplies.
template <class Kind, int kStages, int kTogether, bool kTeam>
struct LoneWarp {
  static constexpr int kUnitBytes = Kind::kUnitBytes;
  /// Copies of weights that are sent before x is awaited. With all of the ring x comes behind them:
  /// a layer of 3 billion weights takes 34.6 us instead of 33.8 at one row, 42.4 instead of 41.8 at
  /// eight; with none 35.4 and 44.6.
  static constexpr int kEarly = 1;

  const LonePlan& plan;
  const LoneRoom& room;
  LoneCopies<Kind>& copies;
  const int m, chain;           // rows of x; the warp's first chain among its block's
  const uint32_t shared, ring;  // of the block, of the warp
  Kind kind;
  uint32_t taken = 0;  // the place of the ring that is multiplied next
  uint32_t xf[kSteps][8];

  /// x of a unit as B operands. Behind the first loads go the copies of weights that were left.
  __device__ __forceinline__ void bring_x(const uint8_t* x, int64_t x_row_bytes,
                                          const LoneNorm& norm, uint4 norm_weight, bool is_first) {
    const int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
    const bool is_normed = Kind::kTakesNorm && !kTeam && norm.a != nullptr;
    // Copies have not been sent to the ring's last place yet.
    const NormedUnit unit{
        norm,
        m,
        copies.way,
        plan.ways,
        ring + (kStages - 1) * kUnitBytes,
        ring + kStages * kUnitBytes,
        shared + room.squares + copies.row_way * plan.ways * NormedUnit::kSquaresBytes};
    if (is_normed) unit.fetch();
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
#pragma unroll
      for (uint32_t& word : xf[i]) word = 0;
      if (g < m && !is_normed) Kind::load_x(x + g * x_row_bytes + i * (kStepK * 2), t, xf[i]);
    }
    if (is_first)
#pragma unroll 1
      for (int i = kEarly; i < kStages - 1; ++i) copies.next(i * kUnitBytes);
    if constexpr (Kind::kTakesNorm)
      if (is_normed) return norm_x(unit, norm_weight);
#pragma unroll
    for (uint32_t(&b)[8] : xf) Kind::permute(b, t);
  }
  /// The same of x that is not there yet, when its rows have been fetched. All of k is the block's,
  /// each unit a warp's of a row way.
  __device__ __forceinline__ void norm_x(const NormedUnit& unit, uint4 weight) {
    wait_copies<kStages - 1 - kEarly>();
    unit.add_up<typename Kind::Format::Type>(copies.row_way == 0);
    sync_threads(1, plan.ways * plan.row_ways * 32);
    unit.to_operands<typename Kind::Format>(unit.inverse(), weight, xf);
  }

  /// The products of steps i0 and on.
  __device__ __forceinline__ void multiply(int i0, float (&dot)[kTogether][Kind::kDots][4]) const {
    typename Kind::Codes c[kTogether];
#pragma unroll
    for (int i = 0; i < kTogether; ++i) c[i] = kind.load(taken, i0 + i);
    multiply_steps<Kind>(c, xf + i0, dot);
  }

  /// The warp's unit of all tiles of a band: a chain's second half goes on from what the first has
  /// left; a whole chain goes to the block that adds the tile up.
  __device__ __forceinline__ void run_band(int band, uint32_t turn, int unit, int own) {
    // Half of a chain, and whether the chain ends with it.
    const uint32_t second = kept(unit & 1);
    const uint32_t last = kept(second | ((unit + 1) * kUnitK == copies.w.k ? 1 : 0));
    const uint32_t lane16 = (threadIdx.x & 31) * 16;
    const uint32_t mine = kept(shared + own * LoneRoom::kSumBytes + lane16);
    const uint32_t half = kept(shared + room.half(own));
    const uint32_t ready = kept(second != 0 ? half : shared + room.free());
    const uint32_t whole = kept(shared + room.totals + unit / 2 * LoneRoom::kSumBytes + lane16);
    const uint32_t full = kept(shared + room.totals + room.full());
    LoneSlot slot(room, copies.row_way, turn ^ (1 - second));
    const int end = min(plan.band, copies.tiles.count - band);
    kind.turn_back();
#pragma unroll 1
    for (int tile = copies.row_way; tile < end; tile += plan.row_ways) {
      kind.turn_to(band + tile);
      wait_copies<kStages - 2>();
      __syncwarp();
      typename Kind::template Tile<kTogether> scaled;
      scaled.fetch(kind, taken);
      // Elsewhere they would cost a register too many.
      if (kTogether == 1) scaled.load_scales(kind, taken);
      copies.next(taken == 0 ? (kStages - 1) * kUnitBytes : taken - kUnitBytes);
      scaled.decode(kind);
      float acc[4] = {0, 0, 0, 0};
#pragma unroll
      for (int i0 = 0; i0 < kSteps; i0 += kTogether) {
        float dot[kTogether][Kind::kDots][4];
        multiply(i0, dot);
        scaled.load_decoded(kind, i0);
        if (i0 == 0) {
          wait(ready + slot.hand, slot.parity);
          if (second != 0) load_sums(mine + slot.hand, acc);
          scaled.load_words(kind, taken);
          scaled.add_sums(kind, acc);
          if (kTogether > 1) scaled.load_scales(kind, taken);
        }
#pragma unroll
        for (int i = 0; i < kTogether; ++i) scaled.add(acc, i0, i, dot[i]);
      }
      taken = taken == (kStages - 1) * kUnitBytes ? 0 : taken + kUnitBytes;
      if (last == 0) {
        store_sums(mine + slot.hand, acc);
        arrive(half + slot.hand);
      } else if constexpr (kTeam) {
        send_sums(of_block(whole + slot.total, slot.owner), of_block(full + slot.total, slot.owner),
                  acc);
      } else {
        store_sums(whole + slot.total, acc);
        arrive(full + slot.total);
      }
      slot.advance(plan, room);
    }
  }

  __device__ __forceinline__ void run(const uint8_t* x, int64_t x_row_bytes, const LoneNorm& norm,
                                      uint4 norm_weight) {
    const int units = copies.w.k / kUnitK, each = plan.ways * plan.team;
    const int step = (plan.ways + 1) / 2;
    uint32_t turn = 0;
#pragma unroll 1
    for (int band = 0; band < copies.tiles.count; band += plan.band, turn ^= plan.odd_turns)
#pragma unroll 1
      for (int unit = copies.way, own = chain; unit < units; unit += each, own += step) {
        if (each < units || band == 0) {
          bring_x(x + unit * (kUnitK * 2), x_row_bytes, norm, norm_weight,
                  band == 0 && unit == copies.way);
          kind.keep_sums(xf);
        }
        run_band(band, turn, unit, own);
      }
  }
};

/// A part is a chain's sum plus its neighbour's, y the sum of the parts.
template <int kAtOnce>
static __device__ __forceinline__ void add_chains(uint32_t sums, int chains, float (&total)[4]) {
#pragma unroll 1
  for (int chain0 = 0; chain0 < chains; chain0 += kAtOnce) {
    float v[kAtOnce][4];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i)
      if (chain0 + i < chains) load_sums(sums + (chain0 + i) * LoneRoom::kSumBytes, v[i]);
#pragma unroll
    for (int i = 0; i < kAtOnce; i += 2)
      if (chain0 + i < chains)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float part = chain0 + i + 1 < chains ? v[i][e] + v[i + 1][e] : v[i][e];
          total[e] = chain0 + i == 0 ? part : total[e] + part;
        }
  }
}

/// The warp that adds up.
template <bool kTeam>
static __device__ __forceinline__ void add_parts(const FlatWeights& w, const LonePlan& plan,
                                                 const LoneTiles& tiles, const LoneRoom& room,
                                                 uint32_t shared, int rank, int m) {
  const int lane = threadIdx.x & 31;
  LoneSlot slot(room, 0, 0);
#pragma unroll 1
  for (int index = 0; index < tiles.count; ++index) {
    if (slot.owner == rank) {
      const OutputTile tile = tiles.tile(index);
      const uint32_t sums = shared + room.totals + slot.total;
      wait(sums + room.full(), slot.parity);
      float total[4] = {0, 0, 0, 0};
      add_chains<6>(sums + lane * 16, room.chains, total);
      if constexpr (!kTeam) {
        arrive(shared + slot.hand + room.free());
      } else if (index + plan.slots < tiles.count) {  // else nobody waits, and they may be gone
        if (lane == 0) expect_bytes(sums + room.full(), room.full());
        __syncwarp();
        if (lane < plan.team) arrive_at_block(of_block(shared + slot.hand + room.free(), lane));
      }
      store_tile(w, tile, m, lane >> 2, 2 * (lane & 3), total);
    }
    slot.hand += room.hand_bytes;  // all tiles, not those of a row way
    if (++slot.owner == plan.team) slot.owner = 0, slot.total += room.total_bytes;
    if (slot.hand == static_cast<uint32_t>(room.totals))
      slot.hand = slot.total = 0, slot.parity ^= 1;
  }
}

/// Every warp makes barriers, a lane that of a slot: by one of them it took a block 2 us from its
/// start. A team's totals come as bytes, a lone block's by its warps.
template <bool kTeam>
static __device__ __forceinline__ void make_barriers(const LonePlan& plan, const LoneRoom& room,
                                                     uint32_t shared, int warp, int adder) {
  const int lane = threadIdx.x & 31;
  if (lane < plan.slots) {
#pragma unroll 1
    for (int i = warp; i <= room.own_chains; i += adder + 1)
      make_barrier(shared + lane * room.hand_bytes + room.half(i),
                   kTeam && i == room.own_chains ? 1 : 32);
  }
  const uint32_t total = room.totals + lane * room.total_bytes;
  if (warp == adder && total < static_cast<uint32_t>(room.rings)) {
    make_barrier(shared + total + room.full(), kTeam ? 1 : 32 * room.chains);
    if (kTeam) expect_bytes(shared + total + room.full(), room.full());
  }
  if (kTeam) publish_barriers();
}

template <class Kind, int kStages, int kTogether, bool kTeam, int kThreads, int kBlocks>
static __global__ void __launch_bounds__(kThreads, kBlocks)
    flat_lone(const __grid_constant__ typename Kind::Weights w, const uint8_t* x,
              int64_t x_row_bytes, int m, const __grid_constant__ LonePlan plan,
              const __grid_constant__ LoneRoom room, const __grid_constant__ LoneNorm norm) {
  extern __shared__ __align__(128) uint8_t shared_bytes[];
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0);  // visibly the same in all lanes
  const int rank = kTeam ? team_rank() : 0;
  const int team = kTeam ? team_index() : static_cast<int>(blockIdx.x);
  const uint32_t shared = shared_address(shared_bytes);
  const LoneTiles tiles(w, plan, team);
  let_next_start();
  const int adder = plan.ways * plan.row_ways;
  if (warp == adder) {
    make_barriers<kTeam>(plan, room, shared, warp, adder);
    __syncthreads();
    if (kTeam) {
      tell_team();
      wait_for_team();
    }
    wait_for_inputs();  // what y holds may still be read
    add_parts<kTeam>(w, plan, tiles, room, shared, rank, m);
    return;
  }
  const uint32_t side = shared + room.rings + warp * room.warp_bytes;
  const uint32_t ring = side + Kind::kSideBytes;
  const int lane = threadIdx.x & 31;
  int way = warp, row_way = 0;  // a division would take longer
  for (; way >= plan.ways; way -= plan.ways) ++row_way;
  using Copies = LoneCopies<Kind>;
  Copies copies{w,
                plan,
                tiles,
                rank * plan.ways + way,
                row_way,
                Copies::codes_in(ring, lane),
                Copies::scales_in(ring, lane)};
  using Warp = LoneWarp<Kind, kStages, kTogether, kTeam>;
#pragma unroll 1
  for (int i = 0; i < Warp::kEarly; ++i) copies.next(i * Kind::kUnitBytes);
  uint4 norm_weight{};
  if (Kind::kTakesNorm && !kTeam && norm.a != nullptr)
    norm_weight =
        *reinterpret_cast<const uint4*>(norm.weight + (copies.way * kUnitK + lane * 8) * 2);
  make_barriers<kTeam>(plan, room, shared, warp, adder);
  __syncthreads();
  if (kTeam) tell_team();
  wait_for_inputs();
  if (kTeam) wait_for_team();
  Warp mine{plan, room, copies, m, way / 2, shared, ring, {w, tiles, ring, side, lane}};
  mine.run(x, x_row_bytes, norm, norm_weight);
}

}  // namespace stepless::kernels::sm90
