// Products of many rows (prompts) by warpgroups, in an order of their own.
//
// Order wgmma_rounded: a weight is fma(scale, code, bias) rounded once to x's type. Steps of 64 k
// follow each other from 0 on, in each four products of 16 k (flat_units.cuh says which), all into
// one float32 sum. Every output is summed alone, by the same instructions whatever tile it lies in:
// so tiles, and m, change no bit.
//
// A block is a warpgroup that brings x and packed weights to rings in shared memory, and two that
// each multiply 64 outputs by kCols rows of x: weights become A operands in registers, a batch
// ahead of the tensor cores. Under load the card's power bounds this, not the loop. Tried and not
// kept, at 13824 x 5120 and 2048 rows: 128 outputs a warpgroup (18 % slower), x for two blocks of a
// cluster at once (equal or slower), the decoded weight in memory and both operands in shared
// memory (21 % slower; in slabs of n 45 %).
#pragma once
#include "kernels/cuda/sm90/prompt_line.cuh"
#include "kernels/cuda/sm90/prompt_weights.cuh"
#include "kernels/cuda/sm90/prompt_x.cuh"

namespace stepless::kernels::sm90 {

constexpr int kMakers = 2, kPromptThreads = 128 * (1 + kMakers), kWeightWarps = 2;
constexpr int kStoreCols = 64;  // rows of x that go through shared memory on their way to y
constexpr int kStorePitch = 64 * 2 + 16;

/// What a block computes at once, and its shared memory. `batch`: products of 16 k that the tensor
/// cores get at once.
template <class Weights_, int cols, int x_stages, int batch>
struct PromptShape {
  using Weights = Weights_;
  static constexpr int kCols = cols, kBatch = batch;
  static constexpr int kXStages = x_stages, kStages = Weights::stages(cols);
  static constexpr int kOutputs = 64 * kMakers;
  static constexpr int kSums = cols / 2;  // of a thread
  static constexpr int kOperandBytes = 32;
  static constexpr int kXBytes = cols * kStepK * 2, kWeightBytes = kOutputs * Weights::kPitch;
  static constexpr int kStoreBytes = kStoreCols * kStorePitch;
  static constexpr int kWeights = kXStages * kXBytes;
  static constexpr int kStore = kWeights + kStages * kWeightBytes;
  static constexpr int kBarriers = kStore + kMakers * kStoreBytes;
  static constexpr int kBytes = kBarriers + 2 * (kXStages + kStages) * 8;
};

/// A place in a ring of stages, each with a barrier that says it is full and one that it is empty.
template <int kStages>
struct Ring {
  uint32_t barriers;
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ uint32_t full() const { return barriers + stage * 8; }
  __device__ __forceinline__ uint32_t empty() const { return full() + kStages * 8; }
  __device__ __forceinline__ uint32_t empty_before() const {
    return barriers + (kStages + (stage == 0 ? kStages - 1 : stage - 1)) * 8;
  }
  __device__ __forceinline__ void advance() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
  __device__ __forceinline__ void wait_full() const { wait(full(), parity); }
  __device__ __forceinline__ void wait_empty() const { wait(empty(), parity ^ 1); }
};

struct PromptArgs {
  FlatWeights w;     // tiles of 16 outputs, each weight's a multiple of a block's unless gated
  const uint8_t* x;  // prepared
  int m;
  bool makes_x;  // what a gate gives is stored prepared, as the x of a product
  PromptLine line;
  int band;         // tiles of rows at a time
  float4* left;     // sums that blocks leave
  unsigned* flags;  // whether they are there, one for each warpgroup
  float tensor_scale[kMostTogether];
};

/// The 64 outputs of a block's tile that one maker has: where they begin in which weight. Of a gate
/// and its up, one maker has the gate's and the other the up's of the same 64.
struct MakerOutputs {
  int weight, first;
};
static __device__ __forceinline__ MakerOutputs outputs_of(const FlatWeights& w, int output_tile,
                                                          int maker) {
  if (w.gated) return {maker, output_tile * 64};
  const TilePlace place = find_tile(w, (output_tile * kMakers + maker) * (64 / kTileRows));
  return {place.weight, place.tile * kTileRows};
}

template <class Shape>
struct PromptRings {
  Ring<Shape::kXStages> x;
  Ring<Shape::kStages> weights;
  static __device__ PromptRings at(uint32_t shared) {
    const uint32_t barriers = shared + Shape::kBarriers;
    return {{barriers}, {barriers + 2 * Shape::kXStages * 8}};
  }
  __device__ void make() const {
    for (int i = 0; i < Shape::kXStages; ++i) {
      make_barrier(x.barriers + i * 8, 1);
      make_barrier(x.barriers + (Shape::kXStages + i) * 8, 4 * kMakers);
    }
    for (int i = 0; i < Shape::kStages; ++i) {
      make_barrier(weights.barriers + i * 8, 32 * kWeightWarps);
      make_barrier(weights.barriers + (Shape::kStages + i) * 8, 128 * kMakers);
    }
    publish_barriers();
  }
};

/// One thread: x of all the block's pieces.
template <class Shape>
static __device__ void bring_x(const PromptArgs& a, uint32_t shared) {
  constexpr int kBlocks = Shape::kCols / kBlockRows;
  auto ring = PromptRings<Shape>::at(shared).x;
  const int steps = a.w.k / kStepK, row_blocks = (a.m + kBlockRows - 1) / kBlockRows;
  Piece piece;
  for (int i = 0; find_piece(a.line, blockIdx.x, i, piece); ++i) {
    const int block0 = place_of(a.line, piece.tile, a.band).row_tile * kBlocks;
    const int blocks = row_blocks - block0 < kBlocks ? row_blocks - block0 : kBlocks;
    const uint8_t* from =
        a.x + (static_cast<int64_t>(block0) * steps + piece.unit * kSteps) * kBlockBytes;
    for (int step = 0; step < piece.units * kSteps; ++step, from += kBlockBytes, ring.advance()) {
      ring.wait_empty();
      expect_bytes(ring.full(), blocks * kBlockBytes);
      for (int j = 0; j < blocks; ++j)
        copy_expected(shared + ring.stage * Shape::kXBytes + j * kBlockBytes,
                      from + static_cast<int64_t>(j) * steps * kBlockBytes, kBlockBytes,
                      ring.full());
    }
  }
}

/// kWeightWarps warps, each for one maker: weights.
template <class Shape>
static __device__ void bring_weights(const PromptArgs& a, uint32_t shared, int warp) {
  using Weights = typename Shape::Weights;
  constexpr int kParts = kSteps / Weights::kStageSteps;  // of a unit
  static_assert(kWeightWarps == kMakers);
  auto ring = PromptRings<Shape>::at(shared).weights;
  const int lane = threadIdx.x % 32;
  Piece piece;
  for (int i = 0; find_piece(a.line, blockIdx.x, i, piece); ++i) {
    const MakerOutputs mine =
        outputs_of(a.w, place_of(a.line, piece.tile, a.band).output_tile, warp);
    const int end = (piece.unit + piece.units) * kParts;
    for (int stage = piece.unit * kParts; stage < end; ++stage, ring.advance()) {
      ring.wait_empty();
      Weights::copy(a.w.one[mine.weight], mine.first, stage,
                    shared + Shape::kWeights + ring.stage * Shape::kWeightBytes +
                        static_cast<uint32_t>(warp * 64 * Weights::kPitch),
                    lane);
      arrive_after_copies(ring.full());
    }
  }
}

/// One of the warpgroups that multiply.
template <class Shape>
struct PromptMaker {
  using Weights = typename Shape::Weights;
  using Type = typename Weights::Type;
  static constexpr int kSums = Shape::kSums, kBatch = Shape::kBatch;
  static constexpr int kStepBatches = 4 / kBatch, kBatches = kStepBatches * kSteps;  // of a unit
  using Operands = uint32_t[2][kBatch][4];

  const PromptArgs& a;
  const uint32_t shared;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const int maker = static_cast<int>(threadIdx.x) / 128 - 1;
  PromptRings<Shape> rings = PromptRings<Shape>::at(shared);
  float sums[kSums];
  Weights weights;
  float times = 1;  // the tensor's scale

  __device__ __forceinline__ void sync() const {
    asm volatile("bar.sync %0,128;" ::"r"(1 + maker) : "memory");
  }
  __device__ __forceinline__ void release(uint32_t empty) const {
    __syncwarp();
    if (lane == 0) arrive(empty);
  }
  /// Starts the loads of a step's weights.
  __device__ __forceinline__ void load(int step) {
    const uint32_t row = shared + Shape::kWeights + rings.weights.stage * Shape::kWeightBytes +
                         ((maker * 4 + warp) * kTileRows + lane / 4) * Weights::kPitch;
    weights = Weights::load(row, step, lane % 4, times);
  }

  __device__ __forceinline__ void make_operands(int batch, uint32_t (&to)[kBatch][4]) const {
#pragma unroll
    for (int j = 0; j < kBatch; ++j) weights.decode(batch * kBatch % 4 + j, to[j]);
  }
  __device__ __forceinline__ void multiply(int batch, const uint32_t (&by)[kBatch][4]) {
    if (batch % kStepBatches == 0) rings.x.wait_full();
    const uint64_t x = operand_at(shared + rings.x.stage * Shape::kXBytes);
    begin_products();
#pragma unroll
    for (int j = 0; j < kBatch; ++j)
      Wgmma<Shape::kCols, Type::kType>::add(
          sums, by[j], x + (batch * kBatch % 4 + j) * (Shape::kOperandBytes / 16));
    commit_products();
  }
  /// Weights of the step behind the one that `batch` ends.
  __device__ __forceinline__ void load_next(int batch, bool more) {
    const int step = batch / kStepBatches + 1;
    if (step % Weights::kStageSteps != 0) return load(step);
    arrive(rings.weights.empty());  // each thread for what it has loaded itself
    rings.weights.advance();
    if (step == kSteps && !more) return;
    rings.weights.wait_full();
    load(step % kSteps);
  }

  /// Makes a batch's operands while the tensor cores are at the batch before.
  __device__ __forceinline__ void add_batch(int batch, bool more, Operands& operands) {
    const bool begins = batch % kStepBatches == 0;
    const bool ends = batch % kStepBatches == kStepBatches - 1;
    make_operands(batch, operands[batch % 2]);
    multiply(batch, operands[batch % 2]);
    if (ends) load_next(batch, more);
    wait_products<1>();
#pragma unroll
    for (int j = 0; j < kBatch; ++j) pin(operands[1 - batch % 2][j]);
    if (begins) release(rings.x.empty_before());
    if (ends) rings.x.advance();
  }

  /// sums += weights · x over `units`.
  __device__ __forceinline__ void add(int units) {
    Operands operands;
    pin(sums);
    rings.weights.wait_full();
    load(0);
    make_operands(0, operands[0]);
    multiply(0, operands[0]);
    if (kStepBatches == 1) load_next(0, true), rings.x.advance();
    for (;; --units) {
#pragma unroll
      for (int batch = 1; batch < kBatches; ++batch) add_batch(batch, units > 1, operands);
      if (units == 1) break;
      add_batch(0, true, operands);
    }
    wait_products<0>();
    pin(sums);
    release(rings.x.empty_before());
  }

  __device__ __forceinline__ float4* left_by(int block) const {
    return a.left + static_cast<int64_t>(block) * (kSums / 4 * 128 * kMakers) + (threadIdx.x - 128);
  }
  __device__ void leave_sums() const {
    float4* const to = left_by(blockIdx.x);
#pragma unroll
    for (int i = 0; i < kSums / 4; ++i)
      to[i * 128 * kMakers] =
          make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]);
    sync();
    if (threadIdx.x % 128 == 0) store_release(a.flags + blockIdx.x * kMakers + maker, 1);
  }
  __device__ void take_sums() {
    unsigned* const flag = a.flags + (blockIdx.x - 1) * kMakers + maker;
    if (threadIdx.x % 128 == 0) {
      while (load_acquire(flag) == 0) {
      }
      *flag = 0;  // for the next launch
    }
    sync();
    const float4* const from = left_by(blockIdx.x - 1);
#pragma unroll
    for (int i = 0; i < kSums / 4; ++i) {
      const float4 v = load_l2(from + i * 128 * kMakers);
      sums[4 * i] = v.x, sums[4 * i + 1] = v.y, sums[4 * i + 2] = v.z, sums[4 * i + 3] = v.w;
    }
  }

  /// Waits for both makers.
  __device__ __forceinline__ void sync_makers() const {
    asm volatile("bar.sync %0,%1;" ::"n"(1 + kMakers), "n"(128 * kMakers) : "memory");
  }
  __device__ __forceinline__ uint32_t room_of(int which) const {
    return shared + Shape::kStore + which * Shape::kStoreBytes;
  }
  /// kStoreCols rows of the sums in their type, to this maker's room.
  __device__ __forceinline__ void narrow(int part) const {
#pragma unroll
    for (int i = 0; i < kStoreCols / 8; i += 2) {
      const float* const d = sums + part * kStoreCols / 2 + 4 * i;
      store_transposed(room_of(maker) + (8 * i + lane / 16 * 8 + lane % 8) * kStorePitch +
                           (warp * 16 + lane / 8 % 2 * 8) * 2,
                       Type::pair(d[0], d[1]), Type::pair(d[2], d[3]), Type::pair(d[4], d[5]),
                       Type::pair(d[6], d[7]));
    }
  }
  /// Eight neighbours of a row of y, as far as they are below n.
  static __device__ __forceinline__ void store_eight(void* y, int64_t y_stride, int row, int n,
                                                     int most, uint4 v) {
    auto* const to = static_cast<uint16_t*>(y) + row * y_stride + n;
    if (n + 8 <= most && reinterpret_cast<uint64_t>(to) % 16 == 0) {
      *reinterpret_cast<uint4*>(to) = v;
      return;
    }
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int e = 0; e < 8; ++e)
      if (n + e < most) to[e] = static_cast<uint16_t>(words[e / 2] >> (e % 2 * 16));
  }
  static __device__ __forceinline__ uint4 gate_eight(const GluArgs& glu, uint4 gates, uint4 ups) {
    const uint32_t g[4] = {gates.x, gates.y, gates.z, gates.w}, u[4] = {ups.x, ups.y, ups.z, ups.w};
    float gate[8], up[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      gate[i] = i % 2 == 0 ? Type::low(g[i / 2]) : Type::high(g[i / 2]);
      up[i] = i % 2 == 0 ? Type::low(u[i / 2]) : Type::high(u[i / 2]);
    }
    gate_all(glu, gate, up);
    return make_uint4(Type::pair(up[0], up[1]), Type::pair(up[2], up[3]), Type::pair(up[4], up[5]),
                      Type::pair(up[6], up[7]));
  }

  static constexpr int kChunks = 8;  // of 8 outputs in a row
  __device__ __forceinline__ uint4 eight_of(int which, int row, int chunk) const {
    return load_shared16(room_of(which) + row * kStorePitch + chunk * 16);
  }
  __device__ __forceinline__ void store_rows(int m0, const MakerOutputs& mine, int most) const {
    for (int i = static_cast<int>(threadIdx.x) % 128; i < kStoreCols * kChunks; i += 128) {
      const int row = i / kChunks, n = mine.first + i % kChunks * 8;
      if (m0 + row < a.m && n < most)
        store_eight(a.w.y[mine.weight], a.w.y_stride[mine.weight], m0 + row, n, most,
                    eight_of(maker, row, i % kChunks));
    }
  }
  /// Half of the rows, which both makers have brought. Where they are to be the x of a product,
  /// rows and outputs are whole blocks.
  __device__ __forceinline__ void store_gated_rows(int m0, int n0, int most) const {
    constexpr int kTurns = kStoreCols * kChunks / kMakers / 128;
    const GluArgs& glu = a.w.glu;
#pragma unroll 1
    for (int turn = 0; turn < kTurns; ++turn) {
      const int i = (maker * kTurns + turn) * 128 + static_cast<int>(threadIdx.x) % 128;
      const int row = i / kChunks, chunk = i % kChunks, n = n0 + chunk * 8;
      const uint4 v = gate_eight(glu, eight_of(0, row, chunk), eight_of(1, row, chunk));
      if (a.makes_x)
        store_as_operands(static_cast<uint8_t*>(glu.y), most / kStepK, m0 + row, n / 8, v);
      else if (m0 + row < a.m && n < most)
        store_eight(glu.y, glu.y_stride, m0 + row, n, most, v);
    }
  }

  /// By way of shared memory, kStoreCols rows of y at a time. Of a gate and its up, both makers see
  /// what both have rounded, as if it had been stored.
  __device__ void store_sums(PromptPlace place) const {
    const MakerOutputs mine = outputs_of(a.w, place.output_tile, maker);
    const int most = a.w.one[mine.weight].n;
#pragma unroll
    for (int part = 0; part < Shape::kCols / kStoreCols; ++part) {
      const int m0 = place.row_tile * Shape::kCols + part * kStoreCols;
      if (m0 >= a.m) break;
      a.w.gated ? sync_makers() : sync();  // the part before has been read
      narrow(part);
      a.w.gated ? sync_makers() : sync();
      a.w.gated ? store_gated_rows(m0, mine.first, most) : store_rows(m0, mine, most);
    }
  }

  __device__ void run() {
    wait_for_inputs();
    Piece piece;
    for (int i = 0; find_piece(a.line, blockIdx.x, i, piece); ++i) {
      if constexpr (Weights::kTensorScale)
        times =
            a.tensor_scale[outputs_of(a.w, place_of(a.line, piece.tile, a.band).output_tile, maker)
                               .weight];
      if (piece.goes_on) {
        take_sums();
      } else {
#pragma unroll
        for (int j = 0; j < kSums; ++j) sums[j] = 0;
      }
      add(piece.units);
      if (piece.leaves)
        leave_sums();
      else
        store_sums(place_of(a.line, piece.tile, a.band));
    }
  }
};

template <class Shape>
static __global__ void __launch_bounds__(kPromptThreads, 1)
    prompt_product(const __grid_constant__ PromptArgs a) {
  extern __shared__ __align__(1024) uint8_t dynamic[];
  const uint32_t shared = shared_address(dynamic);
  let_next_start();
  if (threadIdx.x == 0) PromptRings<Shape>::at(shared).make();
  __syncthreads();
  const int warp = threadIdx.x / 32;
  if (warp < 4) {
    give_registers<40>();
    if (warp == 0) {
      if (threadIdx.x == 0) {
        wait_for_inputs();
        bring_x<Shape>(a, shared);
      }
    } else if (warp <= kWeightWarps) {
      bring_weights<Shape>(a, shared, warp - 1);
    }
  } else {
    take_registers<232>();
    PromptMaker<Shape>{a, shared}.run();
  }
}

}  // namespace stepless::kernels::sm90
