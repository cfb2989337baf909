// Attention of few rows, as of decode steps, in one kernel: blocks take a tile of 16 rows and KV
// head each, and every so many of its shares of the KV axis. The last to end merges them. What
// earlier steps wrote is fetched while the kernels before still run: behind their end stand the
// queries, the step's own keys and values, and sums.
#pragma once
#include "kernels/cuda/sm80/attention_merge.cuh"
#include "kernels/cuda/sm80/attention_tiles.cuh"
#include "kernels/cuda/sm80/attention_turned.cuh"

namespace stepless::kernels::sm80 {

static __device__ const int32_t* from_lane(const int32_t* p, int lane) {
  return reinterpret_cast<const int32_t*>(
      __shfl_sync(~0u, reinterpret_cast<unsigned long long>(p), lane));
}
static __device__ const int32_t* from_lane_above(const int32_t* p) {
  return reinterpret_cast<const int32_t*>(
      __shfl_up_sync(~0u, reinterpret_cast<unsigned long long>(p), 1));
}

/// A tile as its rows tell, the same in all lanes.
struct FoundTile {
  int rows;  // 0: none begins here
  const int32_t* pages;
  int position, written_from;

  /// The step's own rows of its sequence. Row r is the tile's first.
  __device__ FreshRows fresh(const AttnSlab& slab, int r) const {
    const int before = written_from == position ? 0 : rows_before(slab, r, pages, position);
    return {r - before, position - before};
  }
};

/// The tile that begins at row r of the slab, by each warp for itself. What its 16 rows read goes
/// to `reads`.
static __device__ FoundTile find_tile(const AttnSlab& slab, int r, int heads, Reads* reads) {
  // Lane 1 has row r, lane 0 the one before.
  const int lane = threadIdx.x % 32, mine = r - 1 + lane, most = 16 / slab.heads_of_tile;
  RowPlace place{};
  if (slab.first_row + mine >= 0 && mine < slab.rows && lane < most + 2)
    place = RowPlace::of(slab.args.seq[slab.first_row + mine]);
  RowPlace before{};
  before.pages = from_lane_above(place.pages);
  before.position = __shfl_up_sync(~0u, place.position, 1);
  const bool begins = mine <= 0 || mine >= slab.rows || place.begins_tile(before, most);
  const unsigned mask = __ballot_sync(~0u, begins) >> 1;
  if ((mask & 1) == 0) return {};
  const int rows = __ffs(static_cast<int>(mask >> 1));
  const int query = min(lane % 16 / heads, rows - 1) + 1;
  RowPlace read{nullptr, __shfl_sync(~0u, place.position, query),
                __shfl_sync(~0u, place.kept, query), __shfl_sync(~0u, place.resume, query)};
  if (threadIdx.x < 16) reads[lane] = read.reads(slab.args);
  // Rows of a sequence stand in order. Behind another of its rows a step may have written anything.
  const int from = before.pages == place.pages ? 0 : place.position;
  return {rows, from_lane(place.pages, 1), __shfl_sync(~0u, place.position, 1),
          __shfl_sync(~0u, from, 1)};
}

/// A share of a tile, counted from the one of its first chunk, and the chunk to add; -1: none.
struct Step {
  int share, chunk;
};

/// The shares that a block takes: `share`, share + blocks ... of `shares`. To leave two to a block
/// although there are blocks for each costs more than to meet in memory: 8.7 us instead of 6 for
/// one row of 256 positions on an H200.
template <class AttnTile>
struct Walk {
  const AttnTile& tile;
  int shares, blocks, begin;

  __device__ Walk(const AttnTile& one, int most_blocks)
      : tile(one), begin(one.first / kChunk * kChunk) {
    shares = min((one.last - begin) / kChunk + 1, kShares);
    blocks = min(shares, most_blocks);
  }
  /// The first chunk that is read, of `share` and those after it that are the block's.
  __device__ Step at(int share) const {
    int chunk = -1;
#pragma unroll 1
    for (; share < shares; share += blocks)
      if (chunk = tile.settle(begin + share * kChunk); chunk >= 0) break;
    return {share, chunk};
  }
  __device__ Step after(const Step& step) const {
    const int chunk = tile.after(step.chunk);
    return chunk >= 0 ? Step{step.share, chunk} : at(step.share + blocks);
  }
  /// Whether a chunk is in a share of block `block`.
  __device__ bool has(int block, int chunk) const {
    return (chunk - begin) / kChunk % kShares % blocks == block;
  }
  /// By its number among all.
  __device__ int number(int share) const { return (begin / kChunk + share) % kShares; }
  /// Bits of all numbers.
  __device__ unsigned numbers() const {
    const unsigned bits = ((1u << shares) - 1) << number(0);
    return (bits | bits >> kShares) & ((1u << kShares) - 1);
  }
};

/// The sums of a share join those before it, as merge_units() has it.
template <int kCols>
static __device__ void fold(Sums<1, kCols>& all, const Sums<1, kCols>& share) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (share.peak[0][h] == -INFINITY) continue;
    const float now = max_or_nan(all.peak[0][h], share.peak[0][h]);
    const Shrink shrink = Shrink::of(all.peak[0][h], now, share.peak[0][h]);
    all.peak[0][h] = now;
    all.total[0][h] = shrink.sum(all.total[0][h], share.total[0][h]);
#pragma unroll
    for (int c = 0; c < kCols; ++c)
#pragma unroll
      for (int i = 2 * h; i < 2 * h + 2; ++i)
        all.acc[0][c][i] = shrink.sum(all.acc[0][c][i], share.acc[0][c][i]);
  }
}

template <DType type, int kCols>
struct FewTile : AttnTile<type, 1, kCols> {
  using AttnTile<type, 1, kCols>::AttnTile;
  Sums<1, kCols> all;

  /// What earlier steps wrote, and zeros, before wait_for_inputs(); the rest behind it.
  __device__ void fetch_first(int chunk) const {
    const Chunk first = this->find(chunk);
    unsigned todo = Chunk::kAll & ~first.since(this->written_from);
#pragma unroll 1
    for (int late = 0; late < 2; ++late, todo ^= Chunk::kAll) {
      if (late != 0) {
        wait_for_inputs();
        this->copy_queries();
      }
      this->copy_keys(first, todo);
      if (late != 0) commit_copies();
      this->copy_values(first, todo);
    }
    commit_copies();
  }
  /// The same where the rest is to be turned; `mine`(chunk) tells what else this block reads.
  template <class F>
  __device__ void turn_first(int chunk, const TurnedRows& rows, const FreshRows& own,
                             F mine) const {
    const Chunk first = this->find(chunk);
    const unsigned early = Chunk::kAll & ~first.since(own.first_position);
    this->copy_keys(first, early);
    this->copy_values(first, early);
    commit_copies();
    commit_copies();
    wait_for_inputs();
    turn_queries<type>(rows, this->tile, this->shared, this->room.k_pitch, this->last);
    const int begin = max(own.first_position, this->first) / kChunk * kChunk;
#pragma unroll 1
    for (int at = begin; at <= this->last; at += kChunk) {
      if (!mine(at)) continue;
      const Chunk each = at == chunk ? first : this->find(at);
      put_fresh<type, kCols / 2>(rows, own, each, each.since(own.first_position), at != chunk,
                                 this->keys(), this->values());
    }
  }

  __device__ void start() {
    all.clear();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = this->row_of(0, h);
      if (row >= this->tile.rows * this->tile.heads) continue;
      const int head = row % this->tile.heads;
      const float2 start = start_of(this->a, this->tile.head + head);
      all.peak[0][h] = start.x, all.total[0][h] = start.y;
    }
  }

  __device__ void store_y() const {
    const AttnArgs& a = this->a;
    const int dim = static_cast<int>(a.cache.v_dim);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = this->row_of(0, h);
      if (row >= this->tile.rows * this->tile.heads) continue;
      const int query = row / this->tile.heads;
      const int head = this->tile.head + row - query * this->tile.heads;
      const int64_t y_row = this->slab.first_row + this->tile.first + query;
      const float per = 1.0f / all.total[0][h];
      uint16_t* const to =
          static_cast<uint16_t*>(a.y) + y_row * a.y_stride + static_cast<int64_t>(head) * dim;
#pragma unroll
      for (int c = 0; c < kCols; ++c) {
        const int column = (this->warp() * kCols + c) * 8 + this->lane() % 4 * 2;
        const uint32_t pair =
            narrowed<type>(all.acc[0][c][2 * h] * per, all.acc[0][c][2 * h + 1] * per);
        if (dim % 2 == 0 && a.y_stride % 2 == 0) {
          if (column < dim) *reinterpret_cast<uint32_t*>(to + column) = pair;
        } else {
          if (column < dim) to[column] = static_cast<uint16_t>(pair);
          if (column + 1 < dim) to[column + 1] = static_cast<uint16_t>(pair >> 16);
        }
      }
    }
  }
};

/// Blocks: (KV heads and batches, rows, blocks to a tile's shares). Five to a multiprocessor would
/// have to spill: 177 us instead of 147 for 32 rows of 4096 on an H200.
template <DType type, int kCols, class Rows>
__global__ void __launch_bounds__(kAttnThreads, kCols <= 4 ? 4 : 2)
    attend_few(const __grid_constant__ AttnSlab slab, const __grid_constant__ Rows own_rows) {
  extern __shared__ uint4 dynamic[];
  __shared__ Reads reads[16];
  __shared__ Meeting<1> meet;
  __shared__ MergeRoom merge;
  let_next_start();
  const int kv_head = blockIdx.x / slab.batches, batch = blockIdx.x % slab.batches;
  Tile one = tile_of(slab, blockIdx.y, 1, kv_head, batch);
  const FoundTile found = find_tile(slab, blockIdx.y, one.heads, reads);
  if (found.rows == 0) return;
  one.rows = found.rows;
  __syncthreads();
  FewTile<type, kCols> tile(slab, dynamic, reads, meet, one, found.pages, found.written_from);
  const Walk<FewTile<type, kCols>> walk(tile, gridDim.z);
  if (static_cast<int>(blockIdx.z) >= walk.blocks) return;
  tile.clear_tails();
  Step step = walk.at(blockIdx.z);
  if (step.share >= walk.shares) {
    wait_for_inputs();
  } else if constexpr (Rows::kAreThere) {
    const FreshRows fresh = found.fresh(slab, blockIdx.y);
    const int block = blockIdx.z;
    tile.turn_first(step.chunk, own_rows, fresh, [&](int at) { return walk.has(block, at); });
  } else {
    tile.fetch_first(step.chunk);
  }
  tile.start();
  int stored = blockIdx.z;  // shares before this one
#pragma unroll 1
  while (step.share < walk.shares) {
    const Step next = walk.after(step);
    tile.add(step.chunk, next.chunk);
    if (next.share != step.share) {
      if (walk.blocks == 1) {
        fold(tile.all, tile.own);
      } else {
        for (; stored < step.share; stored += walk.blocks) tile.store_none(walk.number(stored));
        tile.store(walk.number(step.share));
        stored += walk.blocks;
      }
      tile.own.clear();
    }
    step = next;
  }
  if (walk.blocks > 1)
    for (; stored < walk.shares; stored += walk.blocks) tile.store_none(walk.number(stored));
  if (walk.blocks == 1) return tile.store_y();
  unsigned* const ticket = slab.tickets + blockIdx.y * gridDim.x + blockIdx.x;
  if (!is_last(ticket, static_cast<unsigned>(walk.blocks))) return;
  merge_units<type>(slab, {one.first, one.rows, one.head, one.heads}, walk.numbers(), merge);
}

}  // namespace stepless::kernels::sm80
