// y = x · wᵀ with dense weights, up to 64 rows of x, by warpgroups: in the order of sm80/dense.cuh
// and with its bits; several weights of one x at a time, a gate's product with its up's. A block is
// a warpgroup that brings weights and x through a ring of steps of 64 k, and those that multiply,
// 64 outputs each, both operands in shared memory.
#pragma once
#include "kernels/cuda/sm90/dense_line.cuh"
#include "kernels/cuda/sm90/mid_copies.cuh"
#include "kernels/cuda/sm90/output_tile.cuh"

namespace stepless::kernels::sm90 {
namespace {  // of each file its own

constexpr int kBringers = 128;
constexpr int kDenseSteps = kChainK / kStepK;  // of a chain
/// What copies under way need; 224 KB take 1 to 2 us more a product, 108 KB 2 to 4 of 64 rows.
constexpr int kDenseRoom = 150 << 10;

/// What a block computes at once, rows of x and outputs, and its shared memory.
template <class Type_, int cols, int makers>
struct DenseShape {
  using Type = Type_;
  static constexpr int kCols = cols, kMakers = makers, kOutputs = 64 * makers;
  static constexpr int kThreads = kBringers + 128 * makers;
  static constexpr int kRowBytes = kStepK * 2;
  static constexpr int kWeightBytes = kOutputs * kRowBytes;
  static constexpr int kStageBytes = kWeightBytes + cols * kRowBytes;
  static constexpr int kStages = kDenseRoom / kStageBytes;
  /// Stages whose weights are sent before x is awaited.
  static constexpr int kEarly = kStages < 8 ? kStages : 8;
  static constexpr int kBarriers = kStages * kStageBytes;
  static constexpr int kBytes = kBarriers + 2 * kStages * 8;
  static constexpr int kSums = cols / 2, kSumBytes = kOutputs * cols * 4;  // of a thread; of a tile
};

struct DenseArgs {
  FlatWeights w;  // tiles of 16 outputs, each weight's a multiple of a block's unless gated
  int64_t w_row_bytes[kMostTogether];
  const uint8_t* x;
  int64_t x_row_bytes;
  int m;
  DenseLine line;
  unsigned* flags;  // whether a block has left its sums, one for each of its warpgroups
  float4* left;     // sums of Shape::kSumBytes each
  int most_left;    // of those, by the blocks of one line
};

/// Blocks of one line share rows of x, from `column` on; its number is counted in y.
template <class Shape>
struct DenseLineRows {
  const int line = static_cast<int>(blockIdx.y), column = line * Shape::kCols;
};

/// Where 16 rows of weights that a warp multiplies come from: neighbours of one weight, or eight of
/// a gate and of the up beside it.
struct DenseRows {
  int weight, first, step;  // the first of a tile's, and how far the next 16 are
  template <class Shape>
  static __device__ __forceinline__ DenseRows of(const FlatWeights& w, int tile) {
    if (w.gated) return {0, tile * (Shape::kOutputs / 2), kTileRows / 2};
    const TilePlace place = find_tile(w, tile * (Shape::kOutputs / kTileRows));
    return {place.weight, place.tile * kTileRows, kTileRows};
  }
};

/// A place in the ring, with a barrier that says it is full and one that it is empty.
template <class Shape>
struct DenseRing {
  const uint32_t shared;
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ uint32_t place() const { return shared + stage * Shape::kStageBytes; }
  __device__ __forceinline__ uint32_t full_of(int which) const {
    return shared + Shape::kBarriers + which * 8;
  }
  __device__ __forceinline__ uint32_t full() const { return full_of(stage); }
  __device__ __forceinline__ uint32_t empty() const { return full() + Shape::kStages * 8; }
  __device__ __forceinline__ uint32_t empty_before() const {
    return full_of(Shape::kStages + (stage == 0 ? Shape::kStages - 1 : stage - 1));
  }
  __device__ __forceinline__ void advance() {
    if (++stage == Shape::kStages) stage = 0, parity ^= 1;
  }
  __device__ void make() const {
    for (int i = 0; i < Shape::kStages; ++i) {
      make_barrier(full_of(i), kBringers);
      make_barrier(full_of(Shape::kStages + i), 4 * Shape::kMakers);
    }
    publish_barriers();
  }
};

/// 16 bytes that are read once, or zeros.
__device__ __forceinline__ void copy_once_or_zero(uint32_t to, const void* from, bool is,
                                                  uint64_t policy) {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0],[%1],16,%2,%3;" ::"r"(to),
               "l"(from), "r"(is ? 16 : 0), "l"(policy)
               : "memory");
}

/// The block's steps in order.
struct DenseSteps {
  const DenseLine& line;
  DensePiece piece{};
  int index = 0, step = 0;
  bool more;
  __device__ explicit DenseSteps(const DenseLine& all) : line(all) { aim(); }
  __device__ __forceinline__ void aim() {
    more = find_piece(line, static_cast<int>(blockIdx.x), index++, piece);
    step = piece.step;
  }
  __device__ __forceinline__ int k() const { return step * kStepK; }
  /// Whether another tile begins.
  __device__ __forceinline__ bool advance() {
    if (++step < piece.end) return false;
    aim();
    return more;
  }
};

/// One of kBringers threads: it has 16 bytes, the same of every 16th row of a step. Rows beyond n
/// are the last one again: what they give is not stored.
template <class Shape>
struct Bringer {
  static constexpr int kWeights = Shape::kOutputs / 16, kXs = (Shape::kCols + 15) / 16;
  const DenseArgs& a;
  const int row = static_cast<int>(threadIdx.x) / 8, chunk = static_cast<int>(threadIdx.x) % 8;
  const uint32_t to = static_cast<uint32_t>(row * Shape::kRowBytes + (chunk ^ row % 8) * 16);
  const uint64_t once = read_once();
  const int column = DenseLineRows<Shape>{}.column;
  const uint8_t* weights[kWeights];

  __device__ __forceinline__ void aim(int tile) {
    const DenseRows rows = DenseRows::of<Shape>(a.w, tile);
    const int weight = a.w.gated ? row / 8 : rows.weight;
    const int first = rows.first + (a.w.gated ? row % 8 : row), last = a.w.one[weight].n - 1;
#pragma unroll
    for (int i = 0; i < kWeights; ++i)
      weights[i] = a.w.one[weight].codes +
                   min(first + i * rows.step, last) * a.w_row_bytes[weight] + chunk * 16;
  }
  __device__ __forceinline__ void bring_weights(int k, uint32_t place) const {
    const bool is = k + chunk * 8 < a.w.k;
#pragma unroll
    for (int i = 0; i < kWeights; ++i)
      copy_once_or_zero(place + to + i * 16 * Shape::kRowBytes,
                        is ? weights[i] + static_cast<int64_t>(k) * 2 : a.x, is, once);
  }
  __device__ __forceinline__ void bring_x(int k, uint32_t place) const {
    if (Shape::kCols < 16 && row >= Shape::kCols) return;
#pragma unroll
    for (int i = 0; i < kXs; ++i) {
      const int own = column + row + i * 16;
      const bool is = own < a.m && k + chunk * 8 < a.w.k;
      copy_or_zero16(
          place + Shape::kWeightBytes + to + i * 16 * Shape::kRowBytes,
          is ? a.x + own * a.x_row_bytes + static_cast<int64_t>(k) * 2 + chunk * 16 : a.x, is);
    }
  }

  __device__ void run(uint32_t shared) {
    DenseSteps ahead(a.line), at(a.line);
    DenseRing<Shape> ring{shared};
    aim(ahead.piece.tile);
    int sent = 0;
#pragma unroll 1
    for (; sent < Shape::kEarly && ahead.more; ++sent) {
      bring_weights(ahead.k(), shared + sent * Shape::kStageBytes);
      if (ahead.advance()) aim(ahead.piece.tile);
    }
    wait_for_inputs();
#pragma unroll 1
    for (; sent > 0; --sent, at.advance(), ring.advance()) {
      bring_x(at.k(), ring.place());
      arrive_after_copies(ring.full());
    }
#pragma unroll 1
    for (; ahead.more; ring.advance()) {
      wait(ring.empty(), ring.parity ^ 1);
      bring_weights(ahead.k(), ring.place());
      bring_x(ahead.k(), ring.place());
      arrive_after_copies(ring.full());
      if (ahead.advance()) aim(ahead.piece.tile);
    }
  }
};

/// One of the warpgroups that multiply.
template <class Shape>
struct DenseMaker {
  static constexpr int kSums = Shape::kSums;
  using Type = typename Shape::Type;
  const DenseArgs& a;
  DenseRing<Shape> ring;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const int maker = static_cast<int>(threadIdx.x - kBringers) / 128;
  const DenseLineRows<Shape> rows{};
  float chain[kSums], total[kSums];

  __device__ __forceinline__ void sync() const {
    asm volatile("bar.sync %0,128;" ::"r"(1 + maker) : "memory");
  }
  __device__ __forceinline__ void release(uint32_t empty) const {
    __syncwarp();
    if (lane == 0) arrive(empty);
  }
  /// chain += w · xᵀ over `steps`.
  __device__ __forceinline__ void multiply(int steps) {
    pin(chain);
    int step = 0;
#pragma unroll 1
    do {
      wait(ring.full(), ring.parity);
      show_to_products();
      const uint64_t w = operand_at(ring.place() + maker * (64 * Shape::kRowBytes));
      const uint64_t x = operand_at(ring.place() + Shape::kWeightBytes);
      begin_products();
#pragma unroll
      for (int j = 0; j < 4; ++j)
        add_shared<Shape::kCols, Type::kType, 1>(chain, w + j * 2, x + j * 2);
      commit_products();
      wait_products<1>();
      if (step > 0) release(ring.empty_before());
      ring.advance();
    } while (++step < steps);
    wait_products<0>();
    pin(chain);
    release(ring.empty_before());
  }

  static __device__ __forceinline__ void clear(float (&sums)[kSums]) {
#pragma unroll
    for (float& sum : sums) sum = 0;
  }
  __device__ __forceinline__ void add(const float (&sums)[kSums]) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) total[i] += sums[i];
  }
  /// This thread's part of sums that wait in memory.
  __device__ __forceinline__ float4* left(int index) const {
    const int64_t place =
        (static_cast<int64_t>(rows.line) * a.most_left + index) * Shape::kMakers + maker;
    return a.left + place * (kSums / 4 * 128) + threadIdx.x % 128;
  }
  __device__ __forceinline__ void put(int index, const float (&sums)[kSums]) const {
    float4* const to = left(index);
#pragma unroll
    for (int i = 0; i < kSums / 4; ++i)
      to[i * 128] = make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]);
  }
  __device__ __forceinline__ void get(int index, float (&sums)[kSums]) const {
    const float4* const from = left(index);
#pragma unroll
    for (int i = 0; i < kSums / 4; ++i) {
      const float4 v = load_l2(from + i * 128);
      sums[4 * i] = v.x, sums[4 * i + 1] = v.y, sums[4 * i + 2] = v.z, sums[4 * i + 3] = v.w;
    }
  }
  __device__ __forceinline__ unsigned* flag_of(int block) const {
    return a.flags + (rows.line * a.line.blocks + block) * Shape::kMakers + maker;
  }
  __device__ __forceinline__ void tell() const {
    sync();
    if (threadIdx.x % 128 == 0) store_release(flag_of(static_cast<int>(blockIdx.x)), 1);
  }
  /// Until blocks first to last have told.
  __device__ __forceinline__ void await(int first, int last) const {
    for (int i = first + static_cast<int>(threadIdx.x) % 128; i <= last; i += 128) {
      unsigned* const flag = flag_of(i);
      while (load_acquire(flag) == 0) {
      }
      *flag = 0;  // for the next launch
    }
    sync();
  }

  /// total = the piece's chains, behind what the block before has left of them; a chain that the
  /// next block ends stays as it is.
  __device__ __forceinline__ void multiply_piece(const DensePiece& piece) {
    const bool keeps = a.line.gathers && piece.goes_on;
    clear(total), clear(chain);
    if (piece.goes_on && !keeps) {
      const int before = static_cast<int>(blockIdx.x) - 1;
      await(before, before);
      get(2 * before, total), get(2 * before + 1, chain);
    }
    int place = blockIdx.x * a.line.each;
#pragma unroll 1
    for (int step = piece.step; step < piece.end;) {
      const int chain_end = min(step / kDenseSteps * kDenseSteps + kDenseSteps, a.line.steps);
      const int end = min(chain_end, piece.end);
      multiply(end - step);
      step = end;
      if (end < chain_end) break;
      if (keeps)
        put(place++, chain);
      else
        add(chain);
      clear(chain);
    }
  }
  /// Adds the chains behind the piece's, which the next blocks have left one by one.
  __device__ __forceinline__ void gather(const DensePiece& piece) {
    constexpr int kAtOnce = kSums > 16 ? 2 : 32 / kSums;
    const int end = (piece.tile + 1) * a.line.units;
    int place = piece.tile * a.line.units + piece.end / a.line.unit_steps;
    await(static_cast<int>(blockIdx.x) + 1, (end - 1) / a.line.each);
#pragma unroll 1
    for (; place < end; place += kAtOnce) {
      float sums[kAtOnce][kSums];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i)
        if (place + i < end) get(place + i, sums[i]);
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i)
        if (place + i < end) add(sums[i]);
    }
  }
  __device__ void store_sums(int tile) const {
    const DenseRows from = DenseRows::of<Shape>(a.w, tile);
    const int weight = from.weight, first = from.first + (maker * 4 + warp) * from.step;
    const OutputTile outputs{weight, first, a.w.one[weight].n - first};
    const int g = lane / 4, column = rows.column + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < kSums; i += 4) {
      const float v[4] = {total[i], total[i + 1], total[i + 2], total[i + 3]};
      if (a.w.gated) {
        store_gates(a.w, outputs, a.m, g, column + i * 2, gated_two(a.w, v));
        continue;
      }
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (column + i * 2 + e % 2 < a.m && g + e / 2 * 8 < outputs.rows)
          sm80::store(a.w.y[weight], a.w.y_type,
                      (column + i * 2 + e % 2) * a.w.y_stride[weight] + first + g + e / 2 * 8,
                      v[e]);
    }
  }
  __device__ void run() {
    wait_for_inputs();  // what y and sums held may still be read
    DensePiece piece;
#pragma unroll 1
    for (int i = 0; find_piece(a.line, static_cast<int>(blockIdx.x), i, piece); ++i) {
      multiply_piece(piece);
      if (a.line.gathers ? piece.goes_on : piece.leaves) {
        if (!a.line.gathers) put(2 * blockIdx.x, total), put(2 * blockIdx.x + 1, chain);
        tell();
        continue;
      }
      if (a.line.gathers && piece.leaves) gather(piece);
      store_sums(piece.tile);
    }
  }
};

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    dense_ring(const __grid_constant__ DenseArgs a) {
  extern __shared__ __align__(1024) uint8_t dynamic[];
  const uint32_t shared = shared_address(dynamic);
  let_next_start();
  if (threadIdx.x == 0) DenseRing<Shape>{shared}.make();
  __syncthreads();
  if (threadIdx.x < kBringers)
    Bringer<Shape>{a}.run(shared);
  else
    DenseMaker<Shape>{a, {shared}}.run();
}

}  // namespace
}  // namespace stepless::kernels::sm90
