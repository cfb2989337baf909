// Attention of many rows, as of prompts: a block takes tiles of 64 rows one after another, each
// with one share of the KV axis. A second kernel merges the shares.
#pragma once
#include "kernels/cuda/sm80/attention_tiles.cuh"

namespace stepless::kernels::sm80 {

/// The slab's tiles, found by all threads of a block together. Returns how many.
static __device__ int find_tiles(const AttnSlab& slab, int rows_of_tile, int* begins) {
  // Aligned, so that no wide load has words beside it (racecheck reports those, unused as they
  // are).
  __shared__ __align__(16) int found[kAttnWarps];
  static_assert(kSlabRows <= kAttnThreads);
  const int r = threadIdx.x, warp = r / 32;
  const SeqRow* const seq = slab.args.seq + slab.first_row + r;
  const bool here = r < slab.rows && (r == 0 || RowPlace::of(seq[0]).begins_tile(
                                                    RowPlace::of(seq[-1]), rows_of_tile));
  const unsigned mask = __ballot_sync(~0u, here);
  if (r % 32 == 0) found[warp] = __popc(mask);
  __syncthreads();
  int before = 0, all = 0;
  for (int w = 0; w < kAttnWarps; ++w) {
    before += w < warp ? found[w] : 0;
    all += found[w];
  }
  if (here) begins[before + __popc(mask & ((1u << r % 32) - 1))] = r;
  if (r == 0) begins[all] = slab.rows;
  __syncthreads();
  return all;
}

/// Items in the order of their tiles: of one KV head and share side by side, which read the same.
struct Item {
  int tile, kv_head, batch, share;
  static __device__ Item of(int item, int tiles, const AttnSlab& slab) {
    const int kv_heads = static_cast<int>(slab.args.cache.kv_heads);
    const int rest = item / tiles, head = rest / kv_heads;
    return {item - rest * tiles, rest - head * kv_heads, head % slab.batches, head / slab.batches};
  }
};

/// Three blocks to a multiprocessor would have to spill: 3223 us instead of 2772 for 2048 rows at
/// the end of 10,240 on an H200.
template <DType type, int kTiles, int kCols>
__global__ void __launch_bounds__(kAttnThreads, 2)
    attend_many(const __grid_constant__ AttnSlab slab) {
  extern __shared__ uint4 dynamic[];
  __shared__ Reads reads[16 * kTiles];
  __shared__ Meeting<kTiles> meet;
  __shared__ int begins[kSlabRows + 1];
  const AttnArgs& a = slab.args;
  let_next_start();
  const int tiles = find_tiles(slab, 16 * kTiles / slab.heads_of_tile, begins);
  wait_for_inputs();
  const int items = tiles * static_cast<int>(a.cache.kv_heads) * slab.batches * kShares;
  for (int at = blockIdx.x; at < items; at += gridDim.x) {
    const Item item = Item::of(at, tiles, slab);
    const int first = begins[item.tile], rows = begins[item.tile + 1] - first;
    const SeqRow* const seq = a.seq + slab.first_row + first;
    const Tile one = tile_of(slab, first, rows, item.kv_head, item.batch);
    __syncthreads();
    if (const int row = threadIdx.x; row < 16 * kTiles)
      reads[row] = RowPlace::of(seq[min(row / one.heads, rows - 1)]).reads(a);
    __syncthreads();
    AttnTile<type, kTiles, kCols> tile(slab, dynamic, reads, meet, one, read_early(&seq->pages), 0);
    const int begin = tile.first / kChunk;
    int chunk = tile.settle((begin + (item.share - begin % kShares + kShares) % kShares) * kChunk);
    if (chunk >= 0) {
      const Chunk found = tile.find(chunk);
      tile.clear_tails();
      tile.copy_queries();
      tile.copy_keys(found);
      commit_copies();
      tile.copy_values(found);
      commit_copies();
    }
    while (chunk >= 0) {
      const int next = tile.after(chunk);
      tile.add(chunk, next);
      chunk = next;
    }
    tile.store(item.share);
  }
}

}  // namespace stepless::kernels::sm80
