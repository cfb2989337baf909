// Products of many rows by warpgroups (wgmma), in the order of sm80/flat_units.cuh and therefore
// with its bits: wgmma and mma.sync sum equal operands equally. A block computes 128 outputs of
// kCols rows of x, each of its two warpgroups 64 outputs: while one folds its groups, the other may
// have the tensor cores. (Handing them over by turns lost 20 to 45 %: what bounds is the number of
// instructions.) Weights travel as in the flat kernels and become A operands in registers; x has
// been laid out as B operands by prepare_wide(). Where outputs are few, blocks share a tile's parts
// of k and the last one adds them up, in order.
#pragma once
#include "kernels/cuda/sm90/wgmma.cuh"

namespace stepless::kernels::sm90 {

using namespace sm80;

constexpr int kGroups = 2, kWideThreads = 128 * kGroups, kWideWarps = kWideThreads / 32;
constexpr int kWideOutputs = 64 * kGroups;
constexpr int kXStages = 4, kWeightStages = 3;
constexpr int kChainUnits = kChainK / kUnitK;

/// A unit of 256 k of kCols rows of x: the rows' sums (SumBlock), then its steps, of which each has
/// four operands, 32 bytes of a row's 128.
template <int kCols, int kGroup>
struct WideUnit {
  static constexpr int kOperand = 32, kStep = kCols * 128,
                       kSums = kCols / 8 * SumBlock<kGroup>::kBytes;
  static constexpr int kBytes = kSums + kSteps * kStep;
  static __host__ __device__ constexpr int step_at(int step) { return kSums + step * kStep; }
};

/// Shared memory: a unit of x, whose steps are the stages of copies, rings of weights, sums of
/// parts, barriers.
template <int kCols, int kGroup>
struct WideRoom {
  static_assert(kXStages == kSteps);
  static constexpr int kRing = WideUnit<kCols, kGroup>::kBytes;
  static constexpr int kTotals = kRing + kWideWarps * kWeightStages * kUnitBytes;
  static constexpr int kBarriers = kTotals + kWideThreads * kCols / 2 * 4;
  static constexpr int kBytes = kBarriers + 2 * kXStages * 8;
};

/// How a tile's parts of k go over blocks: `slices` of them with `parts_each`. With more than one,
/// parts meet in `partials`, (tile, part, sum, thread).
struct WideSplit {
  int slices, parts_each;
  float* partials;
  unsigned* tickets;
};

/// A unit of 8 columns by a warp, to the unit's place. `row`: of x, of this lane's column; null:
/// zeros.
template <int kCols, int kGroup>
static __device__ __forceinline__ void prepare_columns(const uint8_t* row, int unit, int block,
                                                       uint8_t* at) {
  using Unit = WideUnit<kCols, kGroup>;
  using Block = SumBlock<kGroup>;
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  uint32_t b[kSteps][8];
#pragma unroll
  for (int i = 0; i < kSteps; ++i) load_operands(row, unit * kSteps + i, t, b[i]);
#pragma unroll
  for (int i = 0; i < kSteps; ++i)
#pragma unroll
    for (int j = 0; j < 8; ++j)
      *reinterpret_cast<uint32_t*>(at + Unit::step_at(i) + (block * 8 + g) * 128 + (j ^ g) * 16 +
                                   t * 4) = b[i][j];
  Block::each(UnitSums<kGroup>::template of<kCodeOffset>(b), [&](int byte, uint32_t word) {
    *reinterpret_cast<uint32_t*>(at + block * Block::kBytes + byte + lane * 4) = word;
  });
}

/// x in the order of operands: blocks of kCols rows, in them units (WideUnit). A warp makes 8
/// columns of a unit; rows from m on are zero.
template <int kCols, int kGroup>
static __global__ void prepare_wide(const void* x, int64_t x_row_bytes, int m, int units,
                                    uint8_t* to) {
  using Unit = WideUnit<kCols, kGroup>;
  constexpr int kBlocks = kCols / 8;
  begin_early();
  const int g = threadIdx.x % 32 / 4;
  const int item = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  const int block = item % kBlocks, unit = item / kBlocks % units, tile = item / kBlocks / units;
  if (tile * kCols >= m) return;
  const int row = tile * kCols + block * 8 + g;
  prepare_columns<kCols, kGroup>(
      row < m ? static_cast<const uint8_t*>(x) + row * x_row_bytes : nullptr, unit, block,
      to + (static_cast<int64_t>(tile) * units + unit) * Unit::kBytes);
}

template <int kCols, int kGroup>
struct WideTile {
  static constexpr int kSums = kCols / 2;  // of a thread
  using Unit = WideUnit<kCols, kGroup>;
  using Room = WideRoom<kCols, kGroup>;
  using Sums = UnitSums<kGroup>;

  const FlatWeight w;
  const uint8_t* const x;  // this block's units
  const int tile;          // of 16 outputs, this warp's
  const uint32_t shared;
  float* const totals;    // of this thread, kWideThreads apart
  float* const partials;  // the same of this block's first part; null: parts join the totals
  const int unit0, units;
  const int steps = units * kSteps;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t ring = shared + Room::kRing + warp * kWeightStages * kUnitBytes;
  const uint32_t word = Sums::word_at(lane % 4, kScalesAt, kBiasesAt);
  float chain[kSums];

  __device__ uint32_t full(int step) const {
    return shared + Room::kBarriers + step % kXStages * 8;
  }
  __device__ uint32_t empty(int step) const { return full(step) + kXStages * 8; }
  static __device__ uint32_t parity(int step) { return step / kXStages % 2; }

  __device__ void copy_weights(int unit) {
    if (unit < units)
      copy_unit<kGroup>(w, tile, unit0 + unit, ring + unit % kWeightStages * kUnitBytes, lane);
    commit_copies();
  }
  /// One thread of the block. With a unit's first step come its sums, which lie in front of it.
  __device__ void copy_x(int step) const {
    if (step >= steps) return;
    if (step >= kXStages) wait(empty(step), parity(step - kXStages));
    const int of_unit = step % kSteps, at = of_unit == 0 ? 0 : Unit::step_at(of_unit);
    copy_bulk(shared + at, x + static_cast<int64_t>(step / kSteps) * Unit::kBytes + at,
              Unit::step_at(of_unit + 1) - at, full(step));
  }

  /// A unit's first product, of its scales and biases.
  __device__ void add_sums(const uint32_t (&a)[4]) {
    const uint64_t sums = operand_in_blocks(shared, SumBlock<kGroup>::kBytes);
#pragma unroll
    for (int j = 0; j < Sums::kProducts; ++j) Wgmma<kCols>::add(chain, a, sums + j * (256 / 16));
  }

  /// One step of 64, as add_step() sums it; `first` of a unit, whose A of sums is `sums_a`.
  __device__ void add(int step, uint32_t row, float low, float high, bool first,
                      const uint32_t (&sums_a)[4]) {
    const uint64_t operands = operand_at(shared + Unit::step_at(step % kSteps));
    const StepCodes codes = load_codes(row, step % kSteps, lane % 4);
    uint32_t a[4][4];
    float dot[kSums];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      operand<kCodeOffset>(codes, j, a[j]);
      pin(a[j]);
    }
    wait(full(step), parity(step));
    pin(chain);
    begin_products();
    if (first) add_sums(sums_a);
    Wgmma<kCols, DType::bf16, 0, 0>::add(dot, a[0], operands);
#pragma unroll
    for (int j = 1; j < 4; ++j) Wgmma<kCols>::add(dot, a[j], operands + j * (Unit::kOperand / 16));
    commit_products();
    if (threadIdx.x == 0) copy_x(step + kXStages - 1);
    __syncwarp();
    wait_products();
    pin(dot);
    pin(chain);
#pragma unroll
    for (int i = 0; i < kSums; ++i) chain[i] = __fmaf_rn(i % 4 < 2 ? low : high, dot[i], chain[i]);
    if (lane == 0) arrive(empty(step));
  }

  /// A chain of its own, from 0.
  __device__ void add_chain(int unit, int count) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) chain[i] = 0;
    for (const int end = unit + count; unit < end; ++unit) {
      wait_copies<kWeightStages - 2>();
      __syncwarp();
      copy_weights(unit + kWeightStages - 1);
      const uint32_t row = ring + unit % kWeightStages * kUnitBytes + lane / 4 * kRowBytes;
      const auto low = RowScales<kGroup>::load(row);
      const auto high = RowScales<kGroup>::load(row + 8 * kRowBytes);
      uint32_t sums_a[4] = {load_shared4(row + word), load_shared4(row + word + 8 * kRowBytes)};
      sums_a[2] = sums_a[0], sums_a[3] = sums_a[1];
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
        add(unit * kSteps + i, row, low.scale(i), high.scale(i), i == 0, sums_a);
    }
  }

  /// What the chains of part `part` gave joins the total.
  __device__ void end_part(int part) {
    if (partials != nullptr) {
      float* const to = partials + part * kSums * kWideThreads;
#pragma unroll
      for (int i = 0; i < kSums; ++i) to[i * kWideThreads] = chain[i];
      return;
    }
    if (part > 0)
#pragma unroll
      for (int i = 0; i < kSums; ++i) chain[i] = totals[i * kWideThreads] + chain[i];
    if ((part + 1) * kPartUnits < units)
#pragma unroll
      for (int i = 0; i < kSums; ++i) totals[i * kWideThreads] = chain[i];
  }

  /// Adds up the tile's parts, which all blocks have left from `from` on.
  __device__ void add_parts(const float* from, int parts) {
    for (int part = 0; part < parts; ++part, from += kSums * kWideThreads)
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        const float v = __ldcg(from + i * kWideThreads);
        chain[i] = part == 0 ? v : chain[i] + v;
      }
  }

  __device__ void run() {
    for (int unit = 0; unit < kWeightStages - 1; ++unit) copy_weights(unit);
    wait_for_inputs();
    if (threadIdx.x == 0)
      for (int step = 0; step < kXStages - 1; ++step) copy_x(step);
    for (int part = 0; part * kPartUnits < units; ++part) {
      const int unit = part * kPartUnits, left = units - unit;
      add_chain(unit, left < kChainUnits ? left : kChainUnits);
      if (left > kChainUnits) {
        float before[kSums];
#pragma unroll
        for (int i = 0; i < kSums; ++i) before[i] = chain[i];
        add_chain(unit + kChainUnits,
                  left - kChainUnits < kChainUnits ? left - kChainUnits : kChainUnits);
#pragma unroll
        for (int i = 0; i < kSums; ++i) chain[i] = before[i] + chain[i];
      }
      end_part(part);
    }
  }

  /// By way of shared memory: this warpgroup's totals, [column][output], where lanes of a row of
  /// y stand side by side.
  __device__ void store_tile(float* room, void* y, int64_t y_stride, DType y_type, int n0, int m0,
                             int m) const {
    const int g = lane / 4, t = lane % 4, local = warp % 4;
    const auto place = [](int column, int output) {
      return column * 64 + (output ^ (column / 2 % 4 * 8));
    };
#pragma unroll
    for (int i = 0; i < kSums; ++i)
      room[place(i / 4 * 8 + 2 * t + i % 2, 16 * local + g + i % 4 / 2 * 8)] = chain[i];
    asm volatile("bar.sync %0,128;" ::"r"(1 + warp / 4) : "memory");
    for (int column = local; column < kCols && m0 + column < m; column += 4)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int output = lane + 32 * h;
        if (n0 + output < w.n)
          store(y, y_type, (m0 + column) * y_stride + n0 + output, room[place(column, output)]);
      }
  }
};

/// Has the block's barriers of x ready.
template <int kCols, int kGroup>
static __device__ __forceinline__ void make_wide_barriers(uint32_t shared) {
  using Room = WideRoom<kCols, kGroup>;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kXStages; ++i) {
      make_barrier(shared + Room::kBarriers + i * 8, 1);
      make_barrier(shared + Room::kBarriers + (kXStages + i) * 8, kWideWarps);
    }
    publish_barriers();
  }
  __syncthreads();
}

template <int kCols, int kGroup>
static __global__ void __launch_bounds__(kWideThreads, 1)
    flat_wide(FlatWeight w, const uint8_t* x, void* y, int64_t y_stride, DType y_type, int m,
              int row_tiles, WideSplit split) {
  extern __shared__ __align__(1024) uint8_t shared[];
  using Room = WideRoom<kCols, kGroup>;
  constexpr int kPartFloats = kWideThreads * kCols / 2;
  const uint32_t base = shared_address(shared);
  let_next_start();
  make_wide_barriers<kCols, kGroup>(base);
  const int slice = blockIdx.x % split.slices, place = blockIdx.x / split.slices;
  const int row_tile = place % row_tiles, n0 = place / row_tiles * kWideOutputs;
  const int warp = threadIdx.x / 32, units = w.k / kUnitK;
  const int parts = (units + kPartUnits - 1) / kPartUnits, part0 = slice * split.parts_each;
  const int unit0 = part0 * kPartUnits, most = split.parts_each * kPartUnits;
  auto* const totals = reinterpret_cast<float*>(shared + Room::kTotals);
  float* const partials =
      split.slices == 1
          ? nullptr
          : split.partials + static_cast<int64_t>(place) * parts * kPartFloats + threadIdx.x;
  const int64_t of_x = static_cast<int64_t>(row_tile) * units + unit0;
  WideTile<kCols, kGroup> tile{w,
                               x + of_x * WideUnit<kCols, kGroup>::kBytes,
                               n0 / kTileRows + warp,
                               base,
                               totals + threadIdx.x,
                               partials == nullptr ? nullptr : partials + part0 * kPartFloats,
                               unit0,
                               units - unit0 < most ? units - unit0 : most};
  tile.run();
  if (partials != nullptr) {
    if (!is_last(&split.tickets[place], static_cast<unsigned>(split.slices))) return;
    tile.add_parts(partials, parts);
  }
  __syncthreads();  // the totals have been read
  tile.store_tile(totals + warp / 4 * 64 * kCols, y, y_stride, y_type, n0 + warp / 4 * 64,
                  row_tile * kCols, m);
}

}  // namespace stepless::kernels::sm90
