// Products of many rows by warpgroups (wgmma), in the order of the kernels for few rows and
// therefore with their bits: wgmma and mma.sync sum equal operands equally. A block computes 128
// outputs of kCols rows of x, each of its two warpgroups 64 outputs: while one folds its groups,
// the other has the tensor cores. Weights travel as in the kernels for few rows and become A
// operands in registers, a step ahead of the tensor cores; x has been laid out as B operands by
// prepare_wide(). A third warpgroup brings both (wide_rings.cuh). What differs by format:
// wide_formats.cuh.
#pragma once
#include "kernels/cuda/sm90/prompt_line.cuh"
#include "kernels/cuda/sm90/wide_rings.cuh"

namespace stepless::kernels::sm90 {

/// How blocks share the parts of all tiles' k. Where tiles are few, `slices` blocks share one, each
/// `parts_each` of them: parts meet in `sums`, (tile, part, sum, thread), and the last block adds
/// them up, in order. Else blocks have their tiles in a line, and one that goes on with a tile that
/// another began finds the total there, (block, sum, thread).
struct WideSplit {
  PromptLine line;
  int slices, parts_each;
  float* sums;
  unsigned* flags;  // of tiles or of blocks' warpgroups, zero before and after a launch
};
/// A block's i-th piece; of a shared tile, a part.
static __device__ __forceinline__ bool find_wide(const WideSplit& split, int i, Piece& piece) {
  if (split.slices == 1) return find_piece(split.line, blockIdx.x, i, piece);
  const int part = static_cast<int>(blockIdx.x) % split.slices * split.parts_each + i;
  piece = {static_cast<int>(blockIdx.x) / split.slices, part, 1, false, false};
  return i < split.parts_each && part < split.line.units;
}

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

/// What a warpgroup computes of a tile. Between two steps there is little but the folding: codes
/// become operands while the tensor cores are at the step before.
template <int kCols, class Kind>
struct WideTile {
  using Format = typename Kind::Format;
  using Unit = WideUnit<kCols, Kind>;
  using Room = WideRoom<Kind>;
  static constexpr int kSums = kCols / 2;  // of a thread
  static constexpr int kKept = kSums < Room::kKept ? kSums : Room::kKept;

  WideRings<Kind>& rings;
  Kind kind;
  float* const totals;  // of this thread, 128 apart
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float chain[kSums];
  float kept[kKept];    // what chains before gave
  uint32_t a[2][4][4];  // of even and odd steps

  /// This warp's rows g of the unit at hand.
  __device__ __forceinline__ uint32_t row() const {
    return rings.weights() + warp * Format::kUnitBytes + lane / 4 * Format::kRowBytes;
  }
  __device__ __forceinline__ void sync_group() const {
    asm volatile("bar.sync %0,128;" ::"r"(1 + warp / 4) : "memory");
  }
  /// What threads have loaded themselves, each gives back for itself; x that only products have
  /// read, once for a warp.
  __device__ __forceinline__ void release_x(uint32_t barrier) const {
    if constexpr (Kind::kLoadsSums) return arrive(barrier);
    __syncwarp();
    if (lane == 0) arrive(barrier);
  }

  __device__ __forceinline__ void make_operands(int step) {
    if (step == 0) wait(rings.full(), rings.parity);
    const auto codes = Format::load(row(), step, lane % 4);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      Format::to_operand(codes, j, a[step % 2][j]);
      pin(a[step % 2][j]);
    }
  }
  /// Makes operands of the step behind `step`; of this unit's there are `left`, and of those behind
  /// it. (Waiting for its x as well kept `step`'s from being given back: 3 % slower.)
  __device__ __forceinline__ void look_ahead(int step, int left) {
    if (step + 1 >= left) return;
    if (step + 1 == kSteps) {
      arrive(rings.empty());
      rings.advance();
    }
    make_operands((step + 1) % kSteps);
  }

  /// One dot of a step; its product is on its way.
  __device__ __forceinline__ void begin_dot(float (&dot)[kSums], const typename Kind::Unit& unit,
                                            int step, int d) {
    constexpr int kProducts = 4 / Kind::kDots;
    const uint64_t operands = operand_at(rings.x_at(step));
    pin(chain);
    begin_products();
    if (step == 0 && d == 0) kind.template begin<kCols>(chain, unit, rings.x_at(0) - Unit::kFront);
#pragma unroll
    for (int j = d * kProducts; j < (d + 1) * kProducts; ++j) {
      const uint64_t b = operands + j * (Unit::kOperand / 16);
      if (j == d * kProducts)
        Wgmma<kCols, Kind::kType, 0, 0>::add(dot, a[step % 2][j], b);
      else
        Wgmma<kCols, Kind::kType>::add(dot, a[step % 2][j], b);
    }
    commit_products();
  }

  /// `left`: steps of this unit and of those behind it. beside() has the time of the first product.
  template <class Beside>
  __device__ __forceinline__ void add_unit(int left, const Beside& beside) {
    const typename Kind::Unit own(kind, row());
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if (!Kind::kWholeUnits && step >= left) break;
      const uint32_t empty = rings.x_empty(step);
      wait(rings.x_full(step), rings.x_parity);
#pragma unroll
      for (int d = 0; d < Kind::kDots; ++d) {
        constexpr int kLast = Kind::kDots - 1;
        float dot[kSums];
        begin_dot(dot, own, step, d);
        if (step == 0 && d == 0) beside();
        if (d == kLast) look_ahead(step, left);
        wait_products();
        pin(dot);
        if (step == 0 && d == 0) pin(chain);
        if (d == kLast && !Kind::kLoadsSums) release_x(empty);
        kind.fold(chain, dot, own, step, d, rings.x_at(step) + Unit::kOperands + d * kCols * 4);
      }
      // Arriving as soon as loads are on their way, sums of x were those of the next unit in one of
      // some 30 launches of 13824 x 5120, in f16 on an H200.
      if constexpr (Kind::kLoadsSums) arrive_after(empty, kind.seen);
    }
  }

  /// What is not kept in registers.
  __device__ __forceinline__ float* before() const {
    const int group = warp / 4 * 128;
    return totals + (kGroups - warp / 4) * (64 * kWideCols) + group * (Room::kSums - Room::kKept);
  }
  /// A chain has ended, the second of its part or not.
  __device__ __forceinline__ void end_chain(bool second) {
#pragma unroll
    for (int i = 0; i < kKept; ++i) kept[i] = kept[i] + chain[i];
    if (second)
#pragma unroll
      for (int i = kKept; i < kSums; ++i) chain[i] = before()[(i - kKept) * 128] + chain[i];
#pragma unroll
    for (int i = kKept; i < kSums; ++i) before()[(i - kKept) * 128] = chain[i];
  }
  /// A part's sum and the total before it, if there is one.
  __device__ __forceinline__ float add_total(bool joins, int i, float v) const {
    return joins ? totals[i * 128] + v : v;
  }
  /// What a part gave joins the total so far.
  __device__ __forceinline__ void end_part(bool joins) {
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
      totals[i * 128] = add_total(joins, i, kept[i]);
      kept[i] = -0.f;
    }
#pragma unroll
    for (int i = kKept; i < kSums; ++i)
      totals[i * 128] = add_total(joins, i, before()[(i - kKept) * 128]);
  }

  /// Leaves the total of a span's parts in `chain`; with `goes_on` they join what is in `totals`.
  __device__ __forceinline__ void run(const WideSpan& span, bool goes_on) {
    make_operands(0);
#pragma unroll
    for (int i = 0; i < kSums; ++i) chain[i] = 0;
#pragma unroll
    for (int i = 0; i < kKept; ++i) kept[i] = -0.f;  // no sum is changed by it, nor a zero's sign
    const int last = span.units - 1;
#pragma unroll 1
    for (int unit = 0; unit <= last; ++unit) {
      add_unit(span.steps - unit * kSteps, [&] {
        if (unit > 0 && unit % kPartUnits == 0) end_part(goes_on || unit > kPartUnits);
      });
      if (unit < last && unit % kChainUnits != kChainUnits - 1) continue;
      end_chain(unit % kPartUnits >= kChainUnits);
      if (unit < last)
#pragma unroll
        for (int i = 0; i < kSums; ++i) chain[i] = 0;
    }
    const bool joins = goes_on || last >= kPartUnits;
#pragma unroll
    for (int i = 0; i < kSums; ++i)
      chain[i] = add_total(joins, i, i < kKept ? kept[i < kKept ? i : 0] : chain[i]);
    end_item(span);
  }
  __device__ __forceinline__ void end_item(const WideSpan& span) {
    if (!Kind::kWholeUnits)
      for (int step = span.steps - (span.units - 1) * kSteps; step < kSteps; ++step) {
        wait(rings.x_full(step), rings.x_parity);
        release_x(rings.x_empty(step));
      }
    arrive(rings.empty());
    rings.advance();
  }

  /// By way of shared memory, where the totals were: calls put(column) for this warp's columns,
  /// which finds the warpgroup's outputs side by side, by sum_at().
  template <class Put>
  __device__ __forceinline__ void store_columns(int columns, const Put& put) const {
    const int g = lane / 4, t = lane % 4, local = warp % 4;
    sync_group();  // the totals have been read
#pragma unroll
    for (int i = 0; i < kSums; ++i)
      room()[place(i / 4 * 8 + 2 * t + i % 2, 16 * local + g + i % 4 / 2 * 8)] = chain[i];
    sync_group();
#pragma unroll 4
    for (int column = local; column < columns; column += 4) put(column);
    sync_group();
  }
  __device__ __forceinline__ float sum_at(int column, int output) const {
    return room()[place(column, output)];
  }

 private:
  static __device__ __forceinline__ int place(int column, int output) {
    return column * 64 + (output ^ (column / 2 % 4 * 8));
  }
  __device__ __forceinline__ float* room() const { return totals - threadIdx.x % 128; }
};

/// Where the totals of this thread's warpgroup are.
template <class Kind>
static __device__ __forceinline__ float* totals_of(uint8_t* shared) {
  return reinterpret_cast<float*>(shared + WideRoom<Kind>::kTotals) +
         threadIdx.x / 128 * (64 * kWideCols) + threadIdx.x % 128;
}

/// Tiles of all weights stand in one line; every weight begins a block of its own, gate and up go
/// by turns of 16 outputs.
template <class Kind>
struct WideArgs {
  FlatWeights w;
  typename Kind::Call call;
  const uint8_t* x;  // prepared
  int m, band;       // tiles of rows at a time
  WideSplit split;

  __device__ __forceinline__ PromptPlace place_of(const Piece& piece) const {
    return sm90::place_of(split.line, piece.tile, band);
  }
};
/// The weight that the i-th tile of 16 outputs behind `tile0` belongs to, and its number there.
static __device__ __forceinline__ TilePlace find_wide_tile(const FlatWeights& w, int tile) {
  return find_tile(w, min(tile, w.end[kMostTogether - 1] - 1));
}

/// Stores what a warpgroup computed, 64 outputs from tile `tile0` on; column i is row row_of(i) of
/// y. (Where outputs lie is found once: by every column, a tile of 128 took 4 us longer.)
template <class Tile, class Row>
static __device__ __forceinline__ void store_outputs(const Tile& tile, const FlatWeights& w,
                                                     int tile0, int columns, const Row& row_of) {
  if (w.gated) {
    const int output = tile.lane / 16 * 32 + tile.lane % 16;
    const int out = (tile0 / 2 + tile.lane / 16) * kTileRows + tile.lane % 16;
    const bool here = out < w.one[0].n;
    return tile.store_columns(columns, [&](int column) {
      if (here)
        store_gated(w, row_of(column), out, tile.sum_at(column, output),
                    tile.sum_at(column, output + 16));
    });
  }
  const TilePlace at = find_tile(w, tile0);
  void* const y = w.y[at.weight];
  const int64_t stride = w.y_stride[at.weight];
  const int out0 = at.tile * kTileRows, n = w.one[at.weight].n;
  tile.store_columns(columns, [&](int column) {
    const int64_t row = row_of(column) * stride;
#pragma unroll
    for (int output = tile.lane; output < 64; output += 32)
      if (out0 + output < n) store(y, w.y_type, row + out0 + output, tile.sum_at(column, output));
  });
}

/// The warpgroups that multiply.
template <int kCols, class Kind>
struct WideMaker {
  using Tile = WideTile<kCols, Kind>;
  static constexpr int kSums = Tile::kSums, kTileFloats = kWideThreads * kSums;

  const WideArgs<Kind>& a;
  Tile tile;

  __device__ __forceinline__ float* sums_at(int64_t number) const {
    return a.split.sums + number * kTileFloats + threadIdx.x;
  }
  __device__ __forceinline__ unsigned* flag_of(int block) const {
    return a.split.flags + block * kGroups + threadIdx.x / 128;
  }

  /// The sums go to the place `number`.
  __device__ __forceinline__ void leave_sums(int64_t number) const {
    float* const to = sums_at(number);
#pragma unroll
    for (int i = 0; i < kSums; ++i) to[i * kWideThreads] = tile.chain[i];
  }
  /// Whether this block is the last at its tile; then it adds the parts up.
  __device__ __forceinline__ bool add_parts(const Piece& piece) {
    __shared__ unsigned before;
    const auto sync = [] { asm volatile("bar.sync 3,%0;" ::"n"(kWideThreads) : "memory"); };
    sync();
    if (threadIdx.x == 0) {
      before = take_ticket(&a.split.flags[piece.tile]) + 1;
      if (before == a.split.slices) a.split.flags[piece.tile] = 0;  // for the next launch
    }
    sync();
    if (before != a.split.slices) return false;
    const int parts = a.split.line.units;
    for (int part = 0; part < parts; ++part) {
      const float* const from = sums_at(static_cast<int64_t>(piece.tile) * parts + part);
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        const float v = __ldcg(from + i * kWideThreads);
        tile.chain[i] = part == 0 ? v : tile.chain[i] + v;
      }
    }
    return true;
  }

  /// A tile's total so far is for the next block.
  __device__ __forceinline__ void leave_total() const {
    leave_sums(blockIdx.x);
    tile.sync_group();
    if (threadIdx.x % 128 == 0) store_release(flag_of(blockIdx.x), 1);
  }
  /// What the block before left is the total so far. (Loaded where parts are added, each by itself,
  /// it takes 20 us.)
  __device__ __forceinline__ void take_total() {
    unsigned* const flag = flag_of(blockIdx.x - 1);
    if (threadIdx.x % 128 == 0) {
      while (load_acquire(flag) == 0) {
      }
      *flag = 0;  // for the next launch
    }
    tile.sync_group();
    const float* const from = sums_at(static_cast<int64_t>(blockIdx.x) - 1);
#pragma unroll
    for (int i = 0; i < kSums; ++i) tile.chain[i] = __ldcg(from + i * kWideThreads);
#pragma unroll
    for (int i = 0; i < kSums; ++i) tile.totals[i * 128] = tile.chain[i];
  }

  /// The first tile of 16 outputs of a piece's.
  __device__ __forceinline__ int tile_of(const Piece& piece) const {
    return a.place_of(piece).output_tile * (kWideOutputs / kTileRows);
  }
  __device__ __forceinline__ void store_tile(const Piece& piece) const {
    const int m0 = a.place_of(piece).row_tile * kCols;
    store_outputs(tile, a.w, tile_of(piece) + threadIdx.x / 128 * 4, min(a.m - m0, kCols),
                  [&](int column) { return m0 + column; });
  }

  __device__ __forceinline__ void run() {
    const bool shares = a.split.slices > 1;
    Piece piece;
    for (int i = 0; find_wide(a.split, i, piece); ++i) {
      if (piece.goes_on) take_total();
      tile.kind.choose(a.call, find_wide_tile(a.w, tile_of(piece) + threadIdx.x / 32).weight);
      tile.run(span_of(a.w.k, piece.unit, piece.units), piece.goes_on);
      if (shares)
        leave_sums(static_cast<int64_t>(piece.tile) * a.split.line.units + piece.unit);
      else if (piece.leaves)
        leave_total();
      else
        store_tile(piece);
    }
    if (!shares) return;
    find_wide(a.split, 0, piece);
    if (add_parts(piece)) store_tile(piece);
  }
};

template <int kCols, class Kind>
static __global__ void __launch_bounds__(kWideBlock, 1)
    flat_wide(const __grid_constant__ WideArgs<Kind> a) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t base = shared_address(shared);
  let_next_start();
  if (threadIdx.x == 0) WideRoom<Kind>::make_barriers(base);
  __syncthreads();
  if (threadIdx.x >= kWideThreads) {
    const int units = (a.w.k + kUnitK - 1) / kUnitK;
    bring<Kind>(base, [&](WideRings<Kind>& rings, int half) {
      Piece piece;
      for (int i = 0; find_wide(a.split, i, piece); ++i) {
        const PromptPlace place = a.place_of(piece);
        const WideSpan span = span_of(a.w.k, piece.unit, piece.units);
        const int64_t first = static_cast<int64_t>(place.row_tile) * units + span.unit;
        if (half < 0)
          bring_x<kCols>(rings, a.x + first * WideUnit<kCols, Kind>::kBytes, span);
        else
          bring_weights(rings, a.call, half, span, [&](int j, FlatWeight& w) {
            const TilePlace at =
                find_wide_tile(a.w, place.output_tile * (kWideOutputs / kTileRows) + j);
            w = a.w.one[at.weight];
            return at.tile;
          });
      }
    });
    return;
  }
  take_registers<232>();
  wait_for_inputs();
  WideRings<Kind> rings{base};
  WideMaker<kCols, Kind>{
      a,
      {rings, Kind(a.call, 0, a.w.y_type != DType::f32, threadIdx.x % 32), totals_of<Kind>(shared)}}
      .run();
}

}  // namespace stepless::kernels::sm90
