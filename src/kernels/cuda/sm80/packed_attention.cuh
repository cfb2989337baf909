// Attention over packed and plain pages by tensor cores: blocks take a tile of query rows and a KV
// head each, and classes of shares of the KV axis, or a share where rows are few. A row's bits
// follow from its own position, never from the tile: each column of a product is summed alone, and
// positions that a row does not read leave its sums as they are.
#pragma once
#include "kernels/cuda/sm80/packed_merge.cuh"

namespace stepless::kernels::sm80 {

/// What a warp adds of a span: nothing, its stage, or positions of a plain page.
struct PackedPart {
  bool packed, plain;
  int first;      // position
  int64_t place;  // of that among all positions of all pages
};

/// A warp's ring of stages of packed spans. Every step of the walk takes a stage and a group of
/// copies; what is plain or not read leaves it empty.
template <int bits, int kRuns, bool kExact>
struct PackedRing {
  static constexpr int kPieces = kRuns * bits / 16;  // of 64 bytes, of the codes of a position

  const AttnSlab& slab;
  const PackedRoom& room;
  const PackedWalk& walk;
  const int32_t *const packed, *const plain;  // pages
  const int range_begin, range_end, own, kv_head, groups;
  // Where a lane's codes, and scales or biases, of position 0 of page 0 begin.
  const uint8_t *k, *v, *scales;
  uint32_t ring, k_to, v_to, scales_to;
  PackedStep ahead = {};  // to be fetched next
  int zero;
  int page = 0, slot = 0;
  bool is_packed = false;

  __device__ PackedRing(const PackedSlab& all, const PackedWalk& order, const PackedPlace& row,
                        uint4* dynamic, int head)
      : slab(all.slab),
        room(all.room),
        walk(order),
        packed(row.packed),
        plain(row.row.pages),
        range_begin(uniform(row.begin)),
        range_end(uniform(row.end)),
        own(uniform(threadIdx.x / 32)),
        kv_head(head),
        groups(threadIdx.x % 32 < 16 ? all.room.k_groups : all.room.v_groups) {
    const KvLayer& cache = slab.args.cache;
    const PackedKv& kv = cache.packed;
    const int lane = threadIdx.x % 32, array = lane / 8;
    const int64_t at = head * cache.page_tokens;
    // Codes: four lanes to a position. Eight lanes to each array of scales or biases.
    const int row_of_lane = lane / 4, column = lane % 4 * 16;
    k = kv.k + (at + row_of_lane) * k_bytes() + column;
    v = kv.v + (at + row_of_lane) * v_bytes() + column;
    scales = (array == 0   ? kv.k_scales
              : array == 1 ? kv.k_biases
              : array == 2 ? kv.v_scales
                           : kv.v_biases) +
             at * groups * 2 + lane % 8 * 16;
    ring = shared_address(dynamic) + room.ring + own * room.stages * room.stage;
    k_to = row_of_lane * k_pitch() + column;
    v_to = kOwn * k_pitch() + row_of_lane * v_pitch() + column;
    scales_to =
        (array < 2 ? room.k_scales : room.v_scales) + array % 2 * kOwn * 2 * groups + lane % 8 * 16;
    // Nothing that is known to be the same in all lanes: a warp would wait at once for a page that
    // is.
    zero = __shfl_xor_sync(~0u, lane, 0) - lane;
  }
  __device__ __forceinline__ int k_bytes() const {
    return kExact ? kRuns * kRun * bits / 8 : static_cast<int>(slab.args.cache.k_dim) * bits / 8;
  }
  __device__ __forceinline__ int v_bytes() const {
    return kExact ? kRuns * kRun * bits / 8 : static_cast<int>(slab.args.cache.v_dim) * bits / 8;
  }
  __device__ __forceinline__ int k_pitch() const {
    return kExact ? (kRuns * kRun * bits / 128 | 1) * 16 : room.k_pitch;
  }
  __device__ __forceinline__ int v_pitch() const {
    return kExact ? (kRuns * kRun * bits / 128 | 1) * 16 : room.v_pitch;
  }
  __device__ __forceinline__ bool in_range(int at) const {
    return at >= range_begin && at < range_end;
  }
  __device__ __forceinline__ PackedPart part_of(const PackedStep& step) const {
    const int first = step.span + kOwn * own;
    const PagePlace at = PagePlace::of(slab, first);
    const bool is = walk.is_read(first), in = in_range(at.page);
    PackedPart part{is && in, is && !in, first, 0};
    if (part.plain) {
      const KvLayer& cache = slab.args.cache;
      part.place =
          (int64_t{read_early(plain + at.page)} * cache.kv_heads + kv_head) * cache.page_tokens +
          at.slot;
    }
    return part;
  }
  __device__ __forceinline__ void look_up() {
    is_packed = false;
    if (ahead.span < 0) return;
    const int first = ahead.span + kOwn * own;
    const PagePlace at = PagePlace::of(slab, first);
    is_packed = in_range(at.page) && walk.is_read(first);
    slot = at.slot;
    if (is_packed) page = read_early(packed + at.page + zero);
  }
  static __device__ __forceinline__ void copy_codes(const uint8_t* from, uint32_t to, int bytes,
                                                    int pitch) {
    const int column = threadIdx.x % 4 * 16;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      if (!kExact && column + 64 * i >= bytes) continue;
#pragma unroll
      for (int row = 0; row < kOwn; row += 8)
        copy_async<16>(to + row * pitch + 64 * i, from + row * bytes + 64 * i);
    }
  }
  /// Fetches a step, if it is packed, to a stage. Positions that nobody reads come along.
  __device__ __forceinline__ void fetch(int stage) {
    if (is_packed) {
      const KvLayer& cache = slab.args.cache;
      const int each = static_cast<int>(cache.kv_heads * cache.page_tokens);
      const uint32_t to = ring + stage * room.stage;
      const auto at = [&](const uint8_t* from, int bytes) {
        return from + int64_t{page} * (each * bytes) + slot * bytes;
      };
      copy_codes(at(k, k_bytes()), to + k_to, k_bytes(), k_pitch());
      copy_codes(at(v, v_bytes()), to + v_to, v_bytes(), v_pitch());
#pragma unroll
      for (int i = 0; i < kRuns / 2; ++i)
        if (static_cast<int>(threadIdx.x) % 8 + 8 * i < kOwn / 8 * groups)
          copy_async<16>(to + scales_to + 128 * i, at(scales, 2 * groups) + 128 * i);
    }
    commit_copies();
    if (ahead.span >= 0) ahead = walk.after(ahead);
    look_up();
  }
  __device__ void begin(const PackedStep& step) {
    ahead = step;
    look_up();
#pragma unroll 1
    for (int stage = 0; stage < room.stages - 1; ++stage) fetch(stage);
  }
  /// Until the oldest stage is there.
  __device__ __forceinline__ void wait() const {
    if (room.stages == 2)
      wait_copies<0>();
    else if (room.stages == 3)
      wait_copies<1>();
    else
      wait_copies<2>();
    __syncwarp();
  }
};

/// Queries as operands, in both orders, and their sums over each group of keys.
template <DType type, int bits, int kTiles>
static __device__ void prepare_queries(const PackedSlab& all, const PackedUnits& units,
                                       uint8_t* shared) {
  const AttnArgs& a = all.slab.args;
  const PackedRoom& room = all.room;
  const auto dim = static_cast<int>(a.cache.k_dim);
  const int lane = threadIdx.x % 32, t = lane % 4;
#pragma unroll 1
  for (int i = threadIdx.x / 32; i < kTiles * room.k_groups; i += kAttnWarps) {
    const int group = i / kTiles, n = i - group * kTiles;
    const int column = 8 * n + lane / 4;
    float sum = 0.0f;
#pragma unroll 1
    for (int run = group * room.group_runs; run < (group + 1) * room.group_runs; ++run) {
      union {
        uint4 words;
        uint16_t elements[8];
      } plain, own;
      plain.words = own.words = make_uint4(0, 0, 0, 0);
      if (column < units.count) {
        const auto* const from = static_cast<const uint16_t*>(a.q) +
                                 (all.slab.first_row + units.row(column)) * a.q_stride +
                                 int64_t{units.head_of(column)} * dim + run * kRun;
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          plain.elements[e] = __ldcg(from + 8 * t + e);
          own.elements[e] =
              bits == 4 ? plain.elements[e] : __ldcg(from + 4 * t + e % 4 + e / 4 * 16);
        }
      }
      const uint32_t words[4] = {plain.words.x, plain.words.y, plain.words.z, plain.words.w};
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const float2 pair = widened<type>(words[w]);
        sum += pair.x, sum += pair.y;
      }
      const int at = (run * kTiles + n) * 32 + lane;
      reinterpret_cast<uint4*>(shared)[at] = packed_query<bits>(own.words);
      reinterpret_cast<uint4*>(shared + room.plain_queries)[at] = plain.words;
    }
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    if (t == 0)
      reinterpret_cast<float*>(shared + room.query_sums)[(group * kTiles + n) * 8 + lane / 4] = sum;
  }
  __syncthreads();
}

/// Blocks of a multiprocessor.
template <int kTiles, int kRuns>
constexpr int kBlocksOfPacked = kTiles == 1 && kRuns == 4 ? 4 : 2;

/// Blocks: (KV heads and batches, rows, blocks of a tile).
template <DType type, int bits, int kTiles, int kRuns, bool kExact>
__global__ void __launch_bounds__(kAttnThreads, kBlocksOfPacked<kTiles, kRuns>)
    attend_packed(const __grid_constant__ PackedSlab all) {
  using Warp = PackedWarp<type, bits, kTiles, kRuns, kExact>;
  extern __shared__ uint4 dynamic[];
  __shared__ Reads reads[8 * kTiles];
  const AttnSlab& slab = all.slab;
  let_next_start();
  const int kv_head = blockIdx.x / slab.batches, batch = blockIdx.x % slab.batches;
  const Tile one = tile_of(slab, blockIdx.y, 1, kv_head, batch);
  const FoundPacked found = find_packed_tile(slab, blockIdx.y, 8 * kTiles, one.heads, reads);
  if (found.rows == 0) return;
  const PackedUnits units{one.first, one.head, one.heads, found.rows * one.heads};
  __syncthreads();
  const PackedWalk walk(all, reads, 8 * kTiles, one.heads);
  int part = blockIdx.z;
  if (part >= walk.blocks) return;
  PackedStep step = walk.start_part(part);
  PackedRing<bits, kRuns, kExact> ring(all, walk, found.place, dynamic, kv_head);
  const bool early = uniform(found.early) != 0;
  Warp warp(all, walk, dynamic);
#pragma unroll 1
  for (bool first = true;; first = false) {
    if (first && !early) wait_for_inputs();
    ring.begin(step);
    if (first) {
      if (early) wait_for_inputs();
      prepare_queries<type, bits, kTiles>(all, units, reinterpret_cast<uint8_t*>(dynamic));
    }
    if (walk.by_class) begin_class<Warp, kTiles>(warp);
    int stage = 0;
#pragma unroll 1
    while (step.span >= 0) {
      const PackedPart now = ring.part_of(step);
      ring.wait();
      ring.fetch(stage == 0 ? all.room.stages - 1 : stage - 1);
      if (now.packed || now.plain) warp.add(now.first, now.packed, warp.stage_of(stage), now.place);
      const PackedStep next = walk.after(step);
      if (next.share != step.share) end_share<Warp, kTiles, kRuns, bits>(warp, units, step.share);
      stage = stage + 1 == all.room.stages ? 0 : stage + 1;
      step = next;
    }
    wait_copies<0>();
    if (!walk.by_class) break;
    end_class<Warp, kTiles>(warp, units, walk.number(part));
    part += walk.blocks;
    if (part >= walk.parts) break;
    step = walk.start_part(part);
  }
  if (walk.blocks == 1) {
    __syncthreads();
  } else {
    unsigned* const ticket = slab.tickets + blockIdx.y * gridDim.x + blockIdx.x;
    if (!is_last(ticket, static_cast<unsigned>(walk.blocks))) return;
  }
  const int most = walk.by_class ? kClasses : kShares;
  const unsigned run = ((1u << walk.parts) - 1) << walk.begin % most;
  merge_packed<type>(all, units, (run | run >> most) & ((1u << most) - 1));
}

}  // namespace stepless::kernels::sm80
