// Products of many rows by warpgroups (wgmma), in the order of the kernels for few rows and
// therefore with their bits: wgmma and mma.sync sum equal operands equally. A block computes 128
// outputs of kCols rows of x, each of its two warpgroups 64 outputs: while one folds its groups,
// the other may have the tensor cores. (Handing them over by turns lost 20 to 45 %: what bounds is
// the number of instructions.) Weights travel as in the kernels for few rows and become A operands
// in registers; x has been laid out as B operands by prepare_wide(). Where outputs are few, blocks
// share a tile's parts of k and the last one adds them up, in order. What differs by format:
// wide_formats.cuh.
#pragma once
#include "kernels/cuda/sm90/wide_formats.cuh"

namespace stepless::kernels::sm90 {

constexpr int kGroups = 2, kWideThreads = 128 * kGroups, kWideWarps = kWideThreads / 32;
constexpr int kWideOutputs = 64 * kGroups;
constexpr int kWideCols = 128, kXStages = 4;
constexpr int kChainUnits = kChainK / kUnitK;

/// Shared memory: a unit of x, whose steps are the stages of copies, rings of weights, sums of
/// parts, barriers.
template <int kCols, class Kind>
struct WideRoom {
  static_assert(kXStages == kSteps);
  static constexpr int kUnitBytes = Kind::Format::kUnitBytes;
  static constexpr int kStages = kUnitBytes > 3072 ? 2 : 3;  // of weights; 8 bits
  static constexpr int kRing = WideUnit<kCols, Kind>::kBytes;
  static constexpr int kTotals = kRing + kWideWarps * kStages * kUnitBytes;
  static constexpr int kBarriers = kTotals + kWideThreads * kCols / 2 * 4;
  static constexpr int kCounts = kBarriers + kXStages * 8;  // of warps that have read a stage
  static constexpr int kBytes = kCounts + kXStages * 4;
  static_assert(kBytes <= 227 << 10);
};

/// Counts a warp that has read something. Products have read what they need when they are waited
/// for; loads must not be overtaken, which takes a fence, and that 1.3 % of the time.
template <bool kLoads>
static __device__ __forceinline__ uint32_t count_shared(uint32_t at) {
  uint32_t before;
  if constexpr (kLoads)
    asm volatile("atom.acq_rel.cta.shared::cta.add.u32 %0,[%1],1;"
                 : "=r"(before)
                 : "r"(at)
                 : "memory");
  else
    asm volatile("atom.relaxed.cta.shared::cta.add.u32 %0,[%1],1;"
                 : "=r"(before)
                 : "r"(at)
                 : "memory");
  return before;
}

/// How a tile's parts of k go over blocks: `slices` of them with `parts_each`. With more than one,
/// parts meet in `partials`, (tile, part, sum, thread).
struct WideSplit {
  int slices, parts_each;
  float* partials;
  unsigned* tickets;
};

/// x in the order of operands: blocks of kCols rows, in them units (WideUnit). A warp makes 8
/// columns of a unit; rows from m on are zero, and what lies beyond k.
template <int kCols, class Kind>
static __global__ void prepare_wide(const void* x, int64_t x_row_bytes, int m, int k, uint8_t* to) {
  using Unit = WideUnit<kCols, Kind>;
  constexpr int kBlocks = kCols / 8;
  begin_early();
  const int g = threadIdx.x % 32 / 4, units = (k + kUnitK - 1) / kUnitK;
  const int item = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  const int block = item % kBlocks, unit = item / kBlocks % units, tile = item / kBlocks / units;
  if (tile * kCols >= m) return;
  const int row = tile * kCols + block * 8 + g;
  Kind::template prepare<kCols>(
      row < m ? static_cast<const uint8_t*>(x) + row * x_row_bytes : nullptr, unit, k, block,
      to + (static_cast<int64_t>(tile) * units + unit) * Unit::kBytes);
}

template <int kCols, class Kind>
struct WideTile {
  static constexpr int kSums = kCols / 2;  // of a thread
  using Format = typename Kind::Format;
  using Unit = WideUnit<kCols, Kind>;
  using Room = WideRoom<kCols, Kind>;

  const FlatWeight w;
  const typename Kind::Call& call;
  const Kind kind;
  const uint8_t* const x;  // this block's units
  const int tile;          // of 16 outputs, this warp's
  const uint32_t shared;
  float* const totals;    // of this thread, kWideThreads apart
  float* const partials;  // the same of this block's first part; null: parts join the totals
  const int unit0, units;
  const int steps = min(units * kSteps, w.k / kStepK - unit0 * kSteps);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t ring = shared + Room::kRing + warp * Room::kStages * Room::kUnitBytes;
  float chain[kSums];

  __device__ uint32_t full(int step) const {
    return shared + Room::kBarriers + step % kXStages * 8;
  }

  __device__ void copy_weights(int unit) {
    if (unit < units)
      Kind::copy(w, call, tile, unit0 + unit, ring + unit % Room::kStages * Room::kUnitBytes, lane);
    commit_copies();
  }
  /// One thread of the block. With a unit's first step comes what lies in front of it.
  __device__ void copy_x(int step) const {
    if (step >= steps) return;
    const int of_unit = step % kSteps, at = of_unit == 0 ? 0 : Unit::step_at(of_unit);
    copy_bulk(shared + at, x + static_cast<int64_t>(step / kSteps) * Unit::kBytes + at,
              Unit::step_at(of_unit + 1) - at, full(step));
  }
  /// This warp has read a step. The last of the block's that has fetches what comes in its place.
  __device__ void release(int step) const {
    __syncwarp();
    if (lane != 0) return;
    const uint32_t count = shared + Room::kCounts + step % kXStages * 4;
    if (count_shared<Kind::kLoadsSums>(count) % kWideWarps == kWideWarps - 1)
      copy_x(step + kXStages);
  }

  /// One dot of a step, whose A are `a`; its product is on its way.
  __device__ void begin_dot(float (&dot)[kSums], const uint32_t (&a)[4][4],
                            const typename Kind::Unit& unit, int step, int d) {
    constexpr int kProducts = 4 / Kind::kDots;
    const uint64_t operands = operand_at(shared + Unit::step_at(step));
    pin(chain);
    begin_products();
    if (step == 0 && d == 0) kind.template begin<kCols>(chain, unit, shared);
#pragma unroll
    for (int j = d * kProducts; j < (d + 1) * kProducts; ++j) {
      const uint64_t b = operands + j * (Unit::kOperand / 16);
      if (j == d * kProducts)
        Wgmma<kCols, Kind::kType, 0, 0>::add(dot, a[j], b);
      else
        Wgmma<kCols, Kind::kType>::add(dot, a[j], b);
    }
    commit_products();
  }

  __device__ void add_unit(int unit) {
    wait_copies<Room::kStages - 2>();
    __syncwarp();
    copy_weights(unit + Room::kStages - 1);
    const uint32_t row =
        ring + unit % Room::kStages * Room::kUnitBytes + lane / 4 * Format::kRowBytes;
    const typename Kind::Unit own(kind, row);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if (!Kind::kWholeUnits && step > 0 && unit * kSteps + step >= steps) break;
      const auto codes = Format::load(row, step, lane % 4);
      uint32_t a[4][4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        Format::to_operand(codes, j, a[j]);
        pin(a[j]);
      }
      wait(full(step), unit % 2);
#pragma unroll
      for (int d = 0; d < Kind::kDots; ++d) {
        float dot[kSums];
        begin_dot(dot, a, own, step, d);
        wait_products();
        pin(dot);
        pin(chain);
        kind.fold(chain, dot, own, step, d,
                  shared + Unit::step_at(step) + Unit::kOperands + d * kCols * 4);
        pin(chain);
      }
      release(unit * kSteps + step);
    }
  }

  /// A chain of its own, from 0.
  __device__ void add_chain(int unit, int count) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) chain[i] = 0;
    for (const int end = unit + count; unit < end; ++unit) add_unit(unit);
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
    for (int unit = 0; unit < Room::kStages - 1; ++unit) copy_weights(unit);
    wait_for_inputs();
    if (threadIdx.x == 0)
      for (int step = 0; step < kXStages; ++step) copy_x(step);
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
template <class Room>
static __device__ __forceinline__ void make_wide_barriers(uint32_t shared) {
  if (threadIdx.x == 0) {
    for (int i = 0; i < kXStages; ++i) {
      make_barrier(shared + Room::kBarriers + i * 8, 1);
      asm volatile("st.shared.u32 [%0],0;" ::"r"(shared + Room::kCounts + i * 4) : "memory");
    }
    publish_barriers();
  }
  __syncthreads();
}

template <int kCols, class Kind>
static __global__ void __launch_bounds__(kWideThreads, 1)
    flat_wide(FlatWeight w, const __grid_constant__ typename Kind::Call call, const uint8_t* x,
              void* y, int64_t y_stride, DType y_type, int m, int row_tiles, WideSplit split) {
  extern __shared__ __align__(1024) uint8_t shared[];
  using Room = WideRoom<kCols, Kind>;
  constexpr int kPartFloats = kWideThreads * kCols / 2;
  const uint32_t base = shared_address(shared);
  let_next_start();
  make_wide_barriers<Room>(base);
  const int slice = blockIdx.x % split.slices, place = blockIdx.x / split.slices;
  const int row_tile = place % row_tiles, n0 = place / row_tiles * kWideOutputs;
  const int warp = threadIdx.x / 32, units = (w.k + kUnitK - 1) / kUnitK;
  const int parts = (units + kPartUnits - 1) / kPartUnits, part0 = slice * split.parts_each;
  const int unit0 = part0 * kPartUnits, most = split.parts_each * kPartUnits;
  auto* const totals = reinterpret_cast<float*>(shared + Room::kTotals);
  float* const partials =
      split.slices == 1
          ? nullptr
          : split.partials + static_cast<int64_t>(place) * parts * kPartFloats + threadIdx.x;
  const int64_t of_x = static_cast<int64_t>(row_tile) * units + unit0;
  WideTile<kCols, Kind> tile{w,
                             call,
                             Kind(call, 0, y_type != DType::f32, threadIdx.x % 32),
                             x + of_x * WideUnit<kCols, Kind>::kBytes,
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
