// Pairs of rows and experts sorted by expert, by one block: a stable counting sort, so that every
// block that sorts the same pairs makes the same lists.
#pragma once
#include <cuda_runtime.h>

#include "kernels/args.hpp"
#include "kernels/cuda/any/launch.cuh"

namespace stepless::kernels::sm80 {

using std::uint32_t;

/// Pairs that one reading of an expert's weight serves: `count` of them from `first` on in order.
struct alignas(16) Chunk {
  int expert, first, count;
};

/// In shared or in global memory.
struct PairLists {
  Chunk* chunks;
  int* order;  // pairs, by expert
  int* count;  // of chunks
  int* ids;    // as they were when a block sorted them
};

/// Room for the lists of `pairs`, as the arrays lie one after another.
constexpr int64_t kCountBytes = 16;
static __host__ __device__ int64_t list_bytes(int64_t pairs) {
  return kCountBytes + pairs * static_cast<int64_t>(sizeof(Chunk) + 2 * sizeof(int));
}
static __device__ PairLists lists_at(uint8_t* room, int64_t pairs) {
  uint8_t* const chunks = room + kCountBytes;
  int* const order = reinterpret_cast<int*>(chunks + pairs * sizeof(Chunk));
  return {reinterpret_cast<Chunk*>(chunks), order, reinterpret_cast<int*>(room), order + pairs};
}

/// What an earlier kernel of the stream wrote, or is about to write: past the first-level cache,
/// which would keep it as it was.
static __device__ __forceinline__ int load_input(const int* from) {
  int v;
  asm volatile("ld.global.cg.s32 %0,[%1];" : "=r"(v) : "l"(from) : "memory");
  return v;
}

struct Tally {
  int pairs, chunks;
};

/// The sum of the threads before this one; `total` is that of all. `room`: one per warp.
static __device__ Tally tally_before(Tally own, Tally* room, Tally& total) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  Tally up_to = own;
  for (int by = 1; by < 32; by *= 2) {
    const int pairs = __shfl_up_sync(~0u, up_to.pairs, by);
    const int chunks = __shfl_up_sync(~0u, up_to.chunks, by);
    if (lane >= by) up_to.pairs += pairs, up_to.chunks += chunks;
  }
  if (lane == 31) room[warp] = up_to;
  __syncthreads();
  Tally before{0, 0};
  total = before;
  for (int i = 0; i < warps; ++i) {
    if (i == warp) before = total;
    total.pairs += room[i].pairs, total.chunks += room[i].chunks;
  }
  return {before.pairs + up_to.pairs - own.pairs, before.chunks + up_to.chunks - own.chunks};
}

/// Bytes of scratch in shared memory that sort_pairs() needs of `threads`, a multiple of 32.
static __host__ __device__ constexpr int sort_bytes(int threads) {
  return threads / 32 * (threads * 4 + 8);
}

/// Sorts by one warp, a pair to a lane.
static __device__ void sort_few(const int* ids, int pairs, int most_in_chunk,
                                const PairLists& lists) {
  const int lane = threadIdx.x & 31, id = lane < pairs ? ids[lane] : -1;
  int less = 0, before = 0, equal = 0, chunk = 0;
  for (int i = 0; i < pairs; ++i) {
    const int other = __shfl_sync(~0u, id, i);
    less += other < id, equal += other == id, before += other == id && i < lane;
  }
  const bool first = lane < pairs && before % most_in_chunk == 0;
  const unsigned firsts = __ballot_sync(~0u, first);
  for (int i = 0; i < pairs; ++i)
    if ((firsts >> i & 1) != 0) chunk += __shfl_sync(~0u, id, i) < id;
  if (lane < pairs) lists.order[less + before] = lane;
  if (first)
    lists.chunks[chunk + before / most_in_chunk] = {id, less + before,
                                                    min(most_in_chunk, equal - before)};
  if (lane == 0) *lists.count = __popc(firsts);
}

/// Sorts by the whole block, as many experts at a time as it has threads. Each warp takes a run of
/// pairs, 32 at once, and counts them apart.
static __device__ void sort_pairs(const int* ids, int pairs, int experts, int most_in_chunk,
                                  const PairLists& lists, uint8_t* scratch) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  const int window = blockDim.x;
  const int run = (pairs + 32 * warps - 1) / (32 * warps) * 32, first = warp * run;
  const int end = min(first + run, pairs), busy = min(warps, (pairs + run - 1) / run);
  Tally* const room = reinterpret_cast<Tally*>(scratch);
  int* const counts = reinterpret_cast<int*>(room + warps);  // (warps, window)
  int* const own = counts + warp * window;
  Tally before{0, 0};
  for (int base = 0; base < experts; base += window) {
    // Calls f(pair, expert, peers): lanes of equal experts, which are in this window. Ids are read
    // several at a time: each takes about a microsecond to come.
    const auto each_pair = [&](auto f) {
      constexpr int kAtOnce = 8;
      for (int i0 = first + lane; i0 - lane < end; i0 += 32 * kAtOnce) {
        int experts_of[kAtOnce];
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j)
          experts_of[j] = i0 + 32 * j < end ? ids[i0 + 32 * j] - base : -1;
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) {
          const int e = experts_of[j];
          const bool is = e >= 0 && e < window;
          const unsigned peers = __match_any_sync(~0u, is ? e : -1);
          if (is) f(i0 + 32 * j, e, peers);
          __syncwarp();
        }
      }
    };
    const auto leads = [&](unsigned peers) { return lane == __ffs(static_cast<int>(peers)) - 1; };
    for (int i = threadIdx.x; i < busy * window; i += blockDim.x) counts[i] = 0;
    __syncthreads();
    each_pair([&](int, int e, unsigned peers) {
      if (leads(peers)) own[e] += __popc(peers);
    });
    __syncthreads();
    const int e = threadIdx.x;
    Tally mine{0, 0}, total;
    for (int i = 0; i < busy; ++i) mine.pairs += counts[i * window + e];
    mine.chunks = (mine.pairs + most_in_chunk - 1) / most_in_chunk;
    Tally at = tally_before(mine, room, total);
    at.pairs += before.pairs, at.chunks += before.chunks;
    for (int i = 0; i < mine.chunks; ++i) {
      const int done = i * most_in_chunk;
      lists.chunks[at.chunks + i] = {base + e, at.pairs + done,
                                     min(most_in_chunk, mine.pairs - done)};
    }
    for (int i = 0; i < busy; ++i) {
      const int count = counts[i * window + e];
      counts[i * window + e] = at.pairs, at.pairs += count;
    }
    before.pairs += total.pairs, before.chunks += total.chunks;
    __syncthreads();
    each_pair([&](int pair, int expert, unsigned peers) {
      const int rank = __popc(peers & ((1u << lane) - 1)), place = own[expert];
      lists.order[place + rank] = pair;
      __syncwarp(peers);
      if (leads(peers)) own[expert] = place + __popc(peers);
    });
    __syncthreads();
  }
  if (threadIdx.x == 0) *lists.count = before.chunks;
}

/// Sorts few pairs, each id read once and kept: they may be written meanwhile, and what no expert
/// has becomes one. Whoever sorts too early compares them later.
static __device__ void sort_in_block(const ExpertPairs& all, int most_in_chunk,
                                     const PairLists& lists, uint8_t* scratch) {
  const int pairs = static_cast<int>(all.pairs), last = static_cast<int>(all.experts) - 1;
  for (int i = threadIdx.x; i < pairs; i += blockDim.x)
    lists.ids[i] = max(0, min(load_input(all.ids + i), last));
  __syncthreads();
  if (pairs > 32)
    sort_pairs(lists.ids, pairs, last + 1, most_in_chunk, lists, scratch);
  else if (threadIdx.x < 32)
    sort_few(lists.ids, pairs, most_in_chunk, lists);
  __syncthreads();
}
static __device__ bool are_sorted(const ExpertPairs& all, const PairLists& lists) {
  bool other = false;
  for (int i = threadIdx.x; i < all.pairs; i += blockDim.x)
    other = other || load_input(all.ids + i) != lists.ids[i];
  return __syncthreads_or(other) == 0;
}

/// The lists of many pairs, made once in front of a product.
constexpr int kSortThreads = 512;
static __global__ void __launch_bounds__(kSortThreads)
    sort_experts(ExpertPairs all, int most_in_chunk, uint8_t* lists) {
  __shared__ __align__(16) uint8_t scratch[sort_bytes(kSortThreads)];
  begin_early();
  sort_pairs(all.ids, static_cast<int>(all.pairs), static_cast<int>(all.experts), most_in_chunk,
             lists_at(lists, all.pairs), scratch);
}

}  // namespace stepless::kernels::sm80
