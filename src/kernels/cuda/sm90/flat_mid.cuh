// m = 9..64 by warpgroups (wgmma), in the order of sm80/flat_units.cuh and with its bits; formats
// whose groups have dots of their own in that of sm80/unit_order.cuh (mid_dots.cuh). A block
// owns one part of 1024 k, its x in shared memory as operands, and a run of tiles of 64 outputs. x
// comes as rows or, where the kernel in front made them, as operands, of which a warp awaits only
// those it multiplies next; gates leave theirs so for the product behind them.
// Two warpgroups take a tile, each one chain of 512; weights travel through a private ring per warp
// and become A operands in registers, so that no barrier stands in the loop. Chains meet warp by
// warp in shared memory, parts in global memory (mid_sums.cuh), where the blocks of a tile share
// the adding up.
#pragma once
#include "kernels/cuda/sm90/mid_gates.cuh"
#include "kernels/cuda/sm90/mid_sums.cuh"
#include "kernels/cuda/sm90/output_tile.cuh"

namespace stepless::kernels::sm90 {

/// Whether a format's x may come as operands, and its gates leave those of the product behind.
template <class Format>
constexpr bool kMeetsOperands = false;
template <int kGroup, class Type>
constexpr bool kMeetsOperands<FourBitsOf<kGroup, Type>> = true;

/// What the kernel takes of a format's weights, where a lane's scales that sums of x meet are, and
/// the bytes of a warp beside its ring.
template <class Format>
struct MidKind {
  using Weights = FlatWeights;
  static constexpr int kSumBytes = SumBlock<Format::kGroup>::kBytes, kSideBytes = 0;
  static __device__ __forceinline__ uint32_t word_at(int t) { return Format::word_at(t); }
};
template <class Format>
requires kHasDots<Format>
struct MidKind<Format> {
  using Weights = typename Format::Weights;
  static constexpr int kSumBytes = 0, kSideBytes = Format::kSideBytes;
  static __device__ __forceinline__ uint32_t word_at(int) { return 0; }
};

/// Shared memory of a block: x of a part, its units' sums, rings, what warps have beside them, a
/// barrier for each unit of x that comes as operands, and places in turns for either half of a
/// round's gates. What partners give each other lies in a unit's place, too (meet_partner()).
template <int kCols, int kPairs, class Format>
struct MidRoom {
  static constexpr int kWarps = kPairs * 8, kThreads = kWarps * 32;
  /// What __launch_bounds__ is told: up to 32 columns the registers of more threads, 96 each, which
  /// leave norms and attention room beside a block. 32 columns of 8 bits would spill.
  static constexpr bool kIsSmall = kCols == 16 || (kCols == 32 && MidUnit<Format>::kBits < 8);
  static constexpr int kBound = kIsSmall && kThreads == 512 ? 640 : kThreads;
  static constexpr bool kInLine = kCols <= 32;  // blocks; with more columns that costs .3 us
  static constexpr int kStepBytes = kCols * 128;
  static constexpr int kSumBytes = kCols * MidKind<Format>::kSumBytes / 8;  // of a unit
  static constexpr int kSums = kPartK / kStepK * kStepBytes;
  static constexpr int kRing = kSums + kPartUnits * kSumBytes;
  static constexpr int kBoxBytes = kCols / 4 * 128;
  static constexpr int kPlace =
      MidUnit<Format>::kBytes > kBoxBytes ? MidUnit<Format>::kBytes : kBoxBytes;  // a unit's
  static constexpr int kRingBytes = kMidChainUnits * kPlace;                      // of a warp
  static constexpr int kSides = kRing + kWarps * kRingBytes;
  static constexpr int kBarriers = kSides + kWarps * MidKind<Format>::kSideBytes;
  static constexpr int kGates = kBarriers + 128;
  static constexpr int kPlaces = kCols > 48 ? 1 : 2;
  static constexpr int kBytes = kGates, kBytesWithGates = kGates + 2 * kPlaces * kStepOfEight;
  static constexpr int kMostBytes = kMeetsOperands<Format> ? kBytesWithGates : kBytes;
};

/// How a call goes over `blocks` (part, way, slot): a slot has `each` wide tiles, the first `more`
/// of them `step` more.
struct MidPlan {
  int each, more, step, tiles;  // tiles: of 16 outputs; of a gate and its partner, 8 of each
  bool x_is_made;               // it is operands
  int parts, ways, blocks;
  int per_part;  // 65536 / parts, and one
};

/// A block of a launch: one after another by part, way and slot, and those that keep a place
/// behind them, or, where none does, by the grid.
struct MidPlace {
  int part, way, slot;
  template <bool kInLine>
  static __device__ __forceinline__ MidPlace of(const MidPlan& plan) {
    if constexpr (!kInLine)
      return {static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y),
              static_cast<int>(blockIdx.z)};
    const int block = static_cast<int>(blockIdx.x), strip = block * plan.per_part >> 16;
    const int part = block - strip * plan.parts;
    return plan.ways == 1 ? MidPlace{part, 0, strip} : MidPlace{part, strip % 2, strip / 2};
  }
};

/// What blocks without tiles do where a call leaves multiprocessors free: the next kernel's would
/// crowd there (norm.cuh), and do their work last. They stay until those have found places;
/// 1.4 to 5 us are all the same. A layer of 3 billion weights takes 48.5 / 59.8 us at 16 / 32 rows
/// of an H200, without them 49.1 / 60.8.
static __device__ __forceinline__ void keep_place() {
  constexpr int64_t kCycles = 5000;
  wait_for_inputs();
  const int64_t begin = clock64();
  while (clock64() - begin < kCycles) __nanosleep(100);
}

/// A warp of the block: 16 outputs of one chain at a time.
///
/// Tried and lost on an H200 (13824 x 5120): products of the next step under way while a step is
/// folded (28 instead of 25 us at 16 rows, 44 instead of 34 at 32: registers), columns in two runs
/// whose folds alternate (+5 to +10 %), parts meeting in a cluster (12 instead of 8 us at 4096 x
/// 4096, 16 rows), one pair in two blocks of a multiprocessor (+6 to +80 %), chains to blocks
/// instead of parts (+3 to +10 % in a step), all of k to a block with x in a ring (25 instead of 23
/// us at 32 rows, 28 instead of 18 at 16; docs/decisions/0016).
template <int kCols, int kPairs, class Format, class Sums_>
struct MidWarp {
  using Room = MidRoom<kCols, kPairs, Format>;
  using Unit = MidUnit<Format>;
  using Type = typename Format::Type;
  static constexpr int kGroup = Format::kGroup;
  using XBlock = SumBlock<kGroup>;
  static constexpr int kSums = kCols / 2, kHalf = kSums / 2, kVectors = kHalf / 4;
  static constexpr int kTogether = kCols > 32 ? 2 : 1;

  const typename MidKind<Format>::Weights& w;
  const int m, column0, tiles, part, parts, first, end;  // wide tiles; this pair's: kPairs apart
  const int half, local, pair, warp;                     // which chain, which 16 of 64 outputs
  const uint32_t shared;
  const Sums_ sums;  // on their way between the blocks of a tile
  const MidX<kGroup>& next;
  bool awaits_x;  // unit by unit
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const int units = min(kPartUnits, w.k / kUnitK - part * kPartUnits);
  const int own = units_of(half), others = units_of(1 - half);
  const uint32_t ring = ring_of(warp);
  const uint64_t operand0 = operand_at(shared) + half * (kChainK / kStepK) * Room::kStepBytes / 16;
  const uint64_t sums0 = XBlock::template operand<Type>(shared + Room::kSums) +
                         half * kMidChainUnits * Room::kSumBytes / 16;
  const uint32_t word = MidKind<Format>::word_at(t);
  MidSource<Format> source;
  int ahead = first, turn = 0;
  float times = 1;  // what scales of this round's tile are multiplied by
  float chain[kSums];

  __device__ __forceinline__ uint32_t ring_of(int which) const {
    return shared + Room::kRing + which * Room::kRingBytes;
  }
  /// Units of the part's first or second chain.
  __device__ __forceinline__ int units_of(int chain_half) const {
    return max(0, min(kMidChainUnits, units - chain_half * kMidChainUnits));
  }

  /// On to the pair's next tile.
  __device__ __forceinline__ void aim_next() {
    if (ahead >= end) return;
    if (ahead > first && source.left >= source.rows)
      source.advance(w);
    else
      source.aim(w, min(ahead * kMidTiles + local, tiles - 1), kPairs * kMidTiles,
                 part * kPartUnits + half * kMidChainUnits, lane);
  }
  /// Sends for a unit of the chain; behind the last one go the next tile's. Every unit is a group.
  template <int kUnit>
  __device__ __forceinline__ void fetch() {
    if (kUnit == 0) aim_next();
    if (ahead < end && own > kUnit) source.template copy<kUnit>(ring + kUnit * Room::kPlace, lane);
    if (kUnit + 1 == kMidChainUnits) ahead += kPairs;
    commit_copies();
  }

  /// One step of 64, as add_step() sums it; `first`: products of the unit that come before, `next`:
  /// what may be done meanwhile.
  template <class First, class Next>
  __device__ __forceinline__ void add(int step, float low, float high, uint32_t (&a)[4][4],
                                      First first, Next next) {
    const uint64_t operands = operand0 + static_cast<uint32_t>(step * Room::kStepBytes / 16);
    float dot[kSums];
    pin(chain);
    begin_products();
    first();
    Wgmma<kCols, Type::kType, 0, 0>::add(dot, a[0], operands);
#pragma unroll
    for (int j = 1; j < 4; ++j) Wgmma<kCols, Type::kType>::add(dot, a[j], operands + j * 2);
    commit_products();
    next();
    wait_products();
    pin(dot);
    pin(chain);
#pragma unroll
    for (int c = 0; c < kSums; ++c) chain[c] = __fmaf_rn(c % 4 < 2 ? low : high, dot[c], chain[c]);
  }

  template <int kUnit>
  __device__ __forceinline__ void add_unit() {
    wait_copies<0>();
    __syncwarp();
    fetch<1 - kUnit>();
    if (own <= kUnit) return;
    if constexpr (kHasDots<Format>)
      Format::template add_unit<kCols, kUnit == 0>(
          chain, ring + kUnit * Room::kPlace,
          shared + Room::kSides + warp * MidKind<Format>::kSideBytes,
          operand0 + static_cast<uint32_t>(kUnit * kSteps * Room::kStepBytes / 16), times);
    else
      add_with_sums<kUnit>();
  }
  template <int kUnit>
  __device__ __forceinline__ void add_with_sums() {
    if (kMeetsOperands<Format> && awaits_x)
      wait(shared + Room::kBarriers + (half * kMidChainUnits + kUnit) * 8, 0);
    const uint32_t unit = ring + kUnit * Room::kPlace, row = Unit::scales_of(unit, g);
    const auto low = Format::Scales::load(row);
    const auto high = Format::Scales::load(row + Unit::kRow8Scales);
    using XSums = typename Format::Sums;
    uint32_t sums_a[4];
    XSums::to_operand(load_shared4(row + word), load_shared4(row + word + Unit::kRow8Scales),
                      sums_a);
    const uint64_t sums = sums0 + static_cast<uint32_t>(kUnit * Room::kSumBytes / 16);
    uint32_t a[2][4][4];
    const auto decode = [&](int i) {
      const typename Format::Codes codes = Format::load(Unit::codes_of(unit, g, i), i, t);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        Format::to_operand(codes, j, a[i & 1][j]);
        pin(a[i & 1][j]);
      }
    };
    decode(0);
#pragma unroll
    for (int i = 0; i < kSteps; ++i)
      add(
          kUnit * kSteps + i, low.scale(i), high.scale(i), a[i & 1],
          [&] {
            if (i > 0) return;
            if (kUnit == 0)
              Wgmma<kCols, DType::bf16, 0, 0>::add(chain, sums_a, sums);
            else
              Wgmma<kCols>::add(chain, sums_a, sums);
#pragma unroll
            for (int j = 1; j < XSums::kProducts; ++j)
              Wgmma<kCols>::add(chain, sums_a, sums + j * XBlock::template kApart<Type>);
          },
          [&] {
            if (i + 1 < kSteps) decode(i + 1);
          });
  }

  __device__ __forceinline__ void meet() const {
    asm volatile("bar.sync %0,64;" ::"r"(pair * 4 + local) : "memory");
  }

  /// All warps of this half of the columns.
  __device__ __forceinline__ void meet_half() const {
    asm volatile("bar.sync %0,%1;" ::"r"(8 + half), "n"(Room::kThreads / 2) : "memory");
  }

  /// The part of this warp's half of the columns: its partner in the other chain's warpgroup has
  /// the other half. They send by way of the ring's last unit, which they have just used up.
  template <int kMine>
  __device__ __forceinline__ void meet_partner(float (&kept)[kHalf]) const {
    constexpr int kTheirs = kHalf - kMine, kBox = Room::kRingBytes - Room::kPlace;
    __syncwarp();  // all lanes have read that unit
    if (own > 0)
#pragma unroll
      for (int v = 0; v < kHalf; v += 4) {
        const float sent[4] = {chain[kTheirs + v], chain[kTheirs + v + 1], chain[kTheirs + v + 2],
                               chain[kTheirs + v + 3]};
        store_sums(ring + kBox + v * 128 + lane * 16, sent);
      }
    meet();
#pragma unroll
    for (int v = 0; v < kHalf; ++v) kept[v] = chain[kMine + v];
    if (others > 0) {
#pragma unroll
      for (int v = 0; v < kHalf; v += 4) {
        float got[4];
        load_sums(ring_of(warp ^ 4) + kBox + v * 128 + lane * 16, got);
#pragma unroll
        for (int e = 0; e < 4; ++e) kept[v + e] = own > 0 ? kept[v + e] + got[e] : got[e];
      }
    }
    meet();
  }

  __device__ __forceinline__ OutputTile outputs_of(int tile) const {
    const TilePlace place = w.gated ? TilePlace{0, tile} : find_tile(w, tile);
    const int row = place.tile * (w.gated ? kTileRows / 2 : kTileRows);
    return {place.weight, row, w.one[place.weight].n - row};
  }
  __device__ __forceinline__ int column_of(int vector) const {
    return column0 + half * (kCols / 2) + vector * 8 + 2 * t;
  }
  /// This warp's rounds have kVectors items each: eight columns of a tile.
  __device__ __forceinline__ int tile_of(int item) const {
    return (first + item / kVectors * kPairs) * kMidTiles + local;
  }
  __device__ __forceinline__ int64_t place_of(int item, int of_part) const {
    const int64_t place = tile_of(item) * 2 + half;
    return ((place * parts + of_part) * kVectors + item % kVectors) * 32 + lane;
  }

  /// To y, or to the product behind a gate.
  __device__ __forceinline__ void give(int item, const float (&v)[4]) {
    const OutputTile outputs = outputs_of(tile_of(item));
    const int column = column_of(item % kVectors);
    if (!w.gated) return store_rows(w, outputs, m, g, column, v);
    const float2 y = gated_two(w, v);
    if (!kMeetsOperands<Format> || next.at == nullptr)
      store_gates(w, outputs, m, g, column, y);
    else
      give_next(first / kPairs + item / kVectors, column - 2 * t, y);
  }
  /// Eight of the outputs that are a step of the next k, of rows row0 to row0 + 7: the other warps
  /// of this half bring the rest of them, and all go on to another place in turns.
  __device__ __forceinline__ void give_next(int step, int row0, float2 y) {
    if (row0 >= m) return;
    const int eighth = pair * kMidTiles + local;
    const uint32_t room = shared + Room::kGates + (half * Room::kPlaces + turn) * kStepOfEight;
    turn = (turn + 1) % Room::kPlaces;
    if (Room::kPlaces == 1) meet_half();
    put_gated<Type>(room, eighth, y);
    meet_half();
    if (eighth > 2) return;
    const MidEight to = MidEight::of(next, row0, step / kSteps);
    if (eighth < 2)
      store_half_step(to.operands + step % kSteps * to.step_bytes, room, eighth);
    else
      store_step_sums<Type>(to.sums, room, step % kSteps);
  }

  /// Each block of a tile's adds up its share: of all tiles, so that none has more to do than
  /// others. (Whoever comes last adding up alone took 4 to 16 us for 13824 x 5120; counting
  /// arrivals at each tile stalls the copies.) All blocks are there: none is larger than a
  /// multiprocessor, and there are no more of them.
  __device__ __forceinline__ void collect(int rounds) {
    sums.meet(parts);
    const int count = rounds * kVectors;
    for (int item = part; item < count; item += kTogether * parts) add_parts(item, count);
    sums.leave(parts);
  }
  /// Of kTogether items of the share.
  __device__ __forceinline__ void add_parts(int item, int count) {
    constexpr int kAtOnce = 4;
    float total[kTogether][4] = {};
    for (int p0 = 0; p0 < parts; p0 += kAtOnce) {
      float4 v[kTogether][kAtOnce];
      sums.take([&](auto take) {
#pragma unroll
        for (int i = 0; i < kTogether; ++i)
#pragma unroll
          for (int p = 0; p < kAtOnce; ++p)
            if (p0 + p < parts && item + i * parts < count && tile_of(item + i * parts) < tiles)
              take(place_of(item + i * parts, p0 + p), v[i][p]);
      });
#pragma unroll
      for (int i = 0; i < kTogether; ++i)
#pragma unroll
        for (int p = 0; p < kAtOnce; ++p) {
          if (p0 + p >= parts) break;
          const bool begin = p0 + p == 0;
          total[i][0] = begin ? v[i][p].x : total[i][0] + v[i][p].x;
          total[i][1] = begin ? v[i][p].y : total[i][1] + v[i][p].y;
          total[i][2] = begin ? v[i][p].z : total[i][2] + v[i][p].z;
          total[i][3] = begin ? v[i][p].w : total[i][3] + v[i][p].w;
        }
    }
    // One copy of the code that gives, which a step finds cold.
#pragma unroll 1
    for (int at = item, i = 0; i < kTogether; at += parts, ++i) {
      if (at < count && tile_of(at) < tiles) give(at, total[0]);
#pragma unroll
      for (int e = 0; e < 4; ++e) total[0][e] = total[kTogether - 1][e];
    }
  }

  __device__ __forceinline__ void run() {
    static_assert(kMidChainUnits == 2, "a unit is summed while the other one comes");
    int rounds = 0;
#pragma unroll 1
    for (int wide = first; wide < end; wide += kPairs, ++rounds) {
      if constexpr (kHasDots<Format>)
        times = Format::times_of(w, min(wide * kMidTiles + local, tiles - 1), lane);
      add_unit<0>();
      add_unit<1>();
      awaits_x = false;
      float kept[kHalf];
      if (half == 0)
        meet_partner<0>(kept);
      else
        meet_partner<kHalf>(kept);
      const int tile = wide * kMidTiles + local;
      if (tile >= tiles) continue;
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const float y[4] = {kept[4 * v], kept[4 * v + 1], kept[4 * v + 2], kept[4 * v + 3]};
        if constexpr (Sums_::kStay)
          give(rounds * kVectors + v, y);
        else
          sums.send(place_of(rounds * kVectors + v, part), make_float4(y[0], y[1], y[2], y[3]));
      }
    }
    if constexpr (!Sums_::kStay) collect(rounds);
  }
};

/// Format: as flat_few has it, or MidDots.
template <int kCols, int kPairs, class Format, class Sums>
static __global__ void __launch_bounds__(MidRoom<kCols, kPairs, Format>::kBound, 1)
    flat_mid(const __grid_constant__ typename MidKind<Format>::Weights w, const uint8_t* x,
             int64_t x_row_bytes, int m, const __grid_constant__ MidPlan plan,
             const __grid_constant__ MidX<Format::kGroup> next, float4* sums, unsigned* tickets) {
  using Room = MidRoom<kCols, kPairs, Format>;
  constexpr int kGroup = Format::kGroup;
  const bool x_is_made = kMeetsOperands<Format> && plan.x_is_made;
  extern __shared__ __align__(1024) uint8_t shared[];
  const int lane = threadIdx.x & 31;
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0);  // visibly the same in all lanes
  let_next_start();
  if (Room::kInLine && static_cast<int>(blockIdx.x) >= plan.blocks) return keep_place();
  const auto [part, way, slot] = MidPlace::of<Room::kInLine>(plan);
  const int first = slot * plan.each + min(slot, plan.more) * plan.step;
  const int end = first + plan.each + (slot < plan.more ? plan.step : 0);
  const uint32_t base = shared_address(shared);
  MidWarp<kCols, kPairs, Format, Sums> mine{
      w,
      m,
      way * kCols,
      plan.tiles,
      part,
      plan.parts,
      first + (warp >> 3),
      end,
      warp >> 2 & 1,
      warp & 3,
      warp >> 3,
      warp,
      base,
      {sums + static_cast<int64_t>(way) * plan.tiles * plan.parts * (kCols * 4),
       tickets + (slot * plan.ways + way) * Room::kWarps + warp},
      next,
      x_is_made};
  if (x_is_made && threadIdx.x < kPartUnits)
    make_barrier(base + Room::kBarriers + threadIdx.x * 8, 1);
  publish_barriers();
  // More copies than one unit's in front of x's would delay it.
  mine.template fetch<0>();
  if (x_is_made) __syncthreads();  // behind the copies of x it would cost .6 us a layer
  wait_for_inputs();
  if (x_is_made) {
    if (threadIdx.x == 0 && first < end)  // else nobody would await them
      fetch_operands<kCols, kGroup>(
          x + (static_cast<int64_t>(way) * (w.k / kUnitK) + part * kPartUnits) *
                  MidX<kGroup>::unit_bytes(kCols),
          mine.units, base, base + Room::kSums, base + Room::kBarriers);
  } else {
    fetch_mid<kCols>(x + way * kCols * x_row_bytes + part * (kPartK * 2), x_row_bytes,
                     m - way * kCols, mine.units, base, lane, warp, Room::kWarps);
    wait_copies<0>();
    __syncwarp();
    stage_mid<kCols, Format>(base, base + Room::kSums, mine.units, lane, warp, Room::kWarps);
    show_to_products();
    __syncthreads();
  }
  mine.run();
}

}  // namespace stepless::kernels::sm90
