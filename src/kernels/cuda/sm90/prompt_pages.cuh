// How keys and values of prompts travel: tiles of rows, the chunks that they read, and the thread
// that has these copied to a ring in shared memory (prompt_attention.cuh multiplies them).
#pragma once
#include <cuda.h>

#include "kernels/cuda/sm80/attention_parts.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"

namespace stepless::kernels::sm90 {

using namespace sm80;

constexpr int kReaders = 2, kReaderRows = 64, kTallRows = kReaders * kReaderRows;
constexpr int kTallThreads = 128 * (1 + kReaders);
constexpr int kTileBatch = 6;  // rows of a thread that are looked at side by side

/// Which positions a row reads packed.
struct PackedSpan {
  int from, to;
  __device__ bool has(int at) const { return at >= from && at < to; }
};

/// Shared memory. Keys and values are blocks of 64 elements of a row, 128 bytes, one block
/// after the other. `bits`: of packed pages; 0: all are plain.
template <int kDim, int bits = 0>
struct TallRoom {
  // Rows of a launch: their tiles are listed here.
  static constexpr int kSlab = bits == 0 ? 4096 : bits == 4 ? 2048 : 1024;
  // Of the ring: keys of a chunk, its values, and so on.
  static constexpr int kStages = bits == 0 ? 12 : bits == 4 ? 8 : 6;
  static constexpr int kBlock = kChunk * 128, kStage = kBlock * (kDim / 64);
  // Packed keys of 8 bits are two numbers; biases are 32 bytes to a position.
  static constexpr int kPlanes = bits == 8 ? 2 : 1;
  static constexpr int kKeys = kPlanes * kStage + (bits == 0 ? 0 : kChunk * 32);
  static constexpr int kApart = kStages / 2 * (kKeys + kStage);  // not plain values, per reader
  // Of each two stages: codes of a chunk's keys, of its values, then scales and biases.
  static constexpr int kCodeBytes = kChunk * kDim * bits / 8;
  static constexpr int kRaw = 2 * kCodeBytes + (bits == 0 ? 0 : kChunk * (kDim / 32) * 8);
  static constexpr int kCodes = kApart + kReaders * kBlock;
  static constexpr int kReads = kCodes + kStages / 2 * kRaw;  // Reads of the readers' rows
  static constexpr int kSpans = kReads + kTallRows * static_cast<int>(sizeof(Reads));
  static constexpr int kBarriers = kSpans + (bits == 0 ? 0 : kTallRows * 8);
  static constexpr int kChunks = kBarriers + 3 * kStages * 8;  // of each stage: its and the next
  static constexpr int kPlaces = kChunks + kStages * 8;        // of each stage: where it lies
  static constexpr int kWilds = kPlaces + kStages * 8;         // the last count of wild values
  static constexpr int kBegins = kWilds + kStages * 4;         // tiles' first rows
  static constexpr int kFound = kBegins + (kSlab + 2) * 2;     // counts per warp
  static constexpr int kBytes = kFound + kTileBatch * (kTallThreads / 32) * 4;
  static_assert(kBytes <= 227 * 1024);
};

template <class Room>
struct TallRing {
  uint32_t shared;
  int stage = 0;
  uint32_t parity = 0;
  __device__ uint32_t full() const { return shared + Room::kBarriers + stage * 8; }
  __device__ uint32_t empty() const { return full() + Room::kStages * 8; }
  __device__ uint32_t chunks() const { return shared + Room::kChunks + stage * 8; }
  /// Values have come, but are not plain yet.
  __device__ uint32_t raw() const { return empty() + Room::kStages * 8; }
  /// Where the chunk lies, then what its keys' products are too small by.
  __device__ uint32_t place() const { return shared + Room::kPlaces + stage * 8; }
  __device__ uint32_t wild() const { return shared + Room::kWilds + stage * 4; }
  __device__ uint32_t room() const {
    if constexpr (Room::kKeys == Room::kStage) return shared + stage * Room::kStage;
    return shared + stage / 2 * (Room::kKeys + Room::kStage) + stage % 2 * Room::kKeys;
  }
  __device__ void next() {
    if (++stage == Room::kStages) stage = 0, parity ^= 1;
  }
};

/// What says whether a row begins a tile. Rows lie 72 bytes apart, so every word asked for is a
/// sector of the second-level cache, in every block: six words a row took 10 us of 2048 rows.
struct RowHead {
  const int32_t *pages, *packed;
  int position;
  template <int bits>
  static __device__ RowHead of(const SeqRow& seq) {
    return {read_early(&seq.pages), bits == 0 ? nullptr : read_early(&seq.packed),
            static_cast<int>(read_early(reinterpret_cast<const int*>(&seq.position)))};
  }
  /// That of the lane before; of lane 0 `lead`.
  __device__ RowHead before(const RowHead& lead) const {
    const auto up = [](auto* p) {
      return reinterpret_cast<decltype(p)>(
          __shfl_up_sync(~0u, reinterpret_cast<unsigned long long>(p), 1));
    };
    const RowHead head{up(pages), up(packed), __shfl_up_sync(~0u, position, 1)};
    return threadIdx.x % 32 == 0 ? lead : head;
  }
  __device__ bool begins_tile(const RowHead& before) const {
    return pages != before.pages || packed != before.packed || position != before.position + 1 ||
           position % kTallRows == 0;
  }
};

/// The slab's tiles, at most kTallRows rows of one sequence, found by all threads together.
/// `found`: room for kTileBatch counts per warp.
template <int bits>
static __device__ int find_tall_tiles(const AttnSlab& slab, uint16_t* begins, int* found) {
  constexpr int kWarps = kTallThreads / 32;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const SeqRow* const seq = slab.args.seq + slab.first_row;
  int all = 0;
  for (int r0 = 0; r0 < slab.rows; r0 += kTileBatch * kTallThreads) {
    RowHead mine[kTileBatch] = {}, lead[kTileBatch] = {};
    const auto row_of = [&](int i) {
      return r0 + i * kTallThreads + static_cast<int>(threadIdx.x);
    };
#pragma unroll
    for (int i = 0; i < kTileBatch; ++i) {
      const int r = row_of(i);
      if (r < slab.rows) mine[i] = RowHead::of<bits>(seq[r]);
      if (lane == 0 && r > 0 && r < slab.rows) lead[i] = RowHead::of<bits>(seq[r - 1]);
    }
    unsigned begin[kTileBatch];
#pragma unroll
    for (int i = 0; i < kTileBatch; ++i) {
      const bool here = mine[i].begins_tile(mine[i].before(lead[i]));
      begin[i] = __ballot_sync(~0u, row_of(i) < slab.rows && (row_of(i) == 0 || here));
      if (lane == 0) found[i * kWarps + warp] = __popc(begin[i]);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kTileBatch; ++i) {
      int at = all + __popc(begin[i] & ((1u << lane) - 1));
      for (int w = 0; w < kWarps; ++w) {
        at += w < warp ? found[i * kWarps + w] : 0;
        all += found[i * kWarps + w];
      }
      if ((begin[i] >> lane & 1) != 0) begins[at] = static_cast<uint16_t>(row_of(i));
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) begins[all] = static_cast<uint16_t>(slab.rows);
  __syncthreads();
  return all;
}

/// A tile's rows and one query head; the longest tiles of a prompt come first.
struct TallTile {
  int first, rows, head;
  static __device__ TallTile of(const AttnSlab& slab, const uint16_t* begins, int tiles, int item) {
    const int heads = static_cast<int>(slab.args.heads), tile = tiles - 1 - item / heads;
    return {begins[tile], begins[tile + 1] - begins[tile], item % heads};
  }
  __device__ int kv_head(const AttnSlab& slab) const {
    return head / static_cast<int>(slab.args.heads / slab.args.cache.kv_heads);
  }
};

/// The item that a block takes in a round, back and forth so that all get long ones and short ones.
static __device__ int item_of(int round) {
  const auto blocks = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
  return round * blocks + (round % 2 == 0 ? block : blocks - 1 - block);
}

/// The chunks that any row of a tile reads, in order.
struct TallWalk {
  const AttnSlab& slab;
  const SeqRow* const seq;
  const int rows;
  int first, last;
  bool rotates;

  __device__ TallWalk(const AttnSlab& all, const TallTile& tile)
      : slab(all), seq(all.args.seq + all.first_row + tile.first), rows(tile.rows) {
    const RowPlace place = RowPlace::of(seq[0]);
    first = place.reads(slab.args).first, rotates = place.kept != 0;
    last = static_cast<int>(read_early(&seq[rows - 1].position));
  }
  __device__ int begin() const { return settle(first / kChunk * kChunk); }
  __device__ int after(int chunk) const { return chunk < 0 ? -1 : settle(chunk + kChunk); }
  /// -1 behind the last.
  __device__ int settle(int chunk) const {
#pragma unroll 1
    while (rotates && chunk <= last && !anyone(chunk, kChunk)) chunk += kChunk;
    return chunk <= last ? chunk : -1;
  }
  __device__ bool is_read(int at) const {
    return at >= first && at <= last && (!rotates || anyone(at, 1));
  }
  /// Whether any row reads any of `count` positions, or might.
  __device__ bool anyone(int at, int count) const {
#pragma unroll 1
    for (int r = 0; r < rows; ++r) {
      const Reads reads = RowPlace::of(seq[r]).reads(slab.args);
      if (count == 1 ? reads.has(at) : at < reads.kept || at + count > reads.resume) return true;
    }
    return false;
  }
};

/// A box of 64 elements of 64 positions, which share a page: chunk c of row r at place c ^ r % 8.
static __device__ __forceinline__ void copy_box(uint32_t to, const CUtensorMap& map, int element,
                                                int row, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0],[%1,{%2,%3}],[%4];" ::"r"(to),
      "l"(&map), "r"(element), "r"(row), "r"(barrier)
      : "memory");
}

/// A stage of plain keys or values, which the barrier waits for.
template <class Room>
static __device__ __forceinline__ void copy_chunk(uint32_t to, const CUtensorMap& map, int row,
                                                  uint32_t barrier) {
  expect_bytes(barrier, Room::kStage);
#pragma unroll
  for (int block = 0; block < Room::kStage / Room::kBlock; ++block)
    copy_box(to + block * Room::kBlock, map, block * 64, row, barrier);
}

/// What a launch attends to: its slab, and its cache as (rows, dim).
struct TallCall {
  AttnSlab slab;
  CUtensorMap keys, values;
};

/// One thread: starts copies of all chunks of all tiles.
template <int kDim>
struct TallCopier {
  using Room = TallRoom<kDim>;
  const TallCall& call;
  const AttnSlab& slab = call.slab;
  const uint32_t shared;
  TallRing<Room> ring{shared};

  __device__ int find_page(const TallWalk& walk, const int32_t* pages, int chunk) const {
    return read_early(pages + PagePlace::of(slab, max(chunk, 0)).page);
  }
  __device__ void bring(const CUtensorMap& map, int row, uint32_t barrier, uint2 chunks) {
    asm volatile("st.shared.v2.u32 [%0],{%1,%2};" ::"r"(ring.chunks()), "r"(chunks.x), "r"(chunks.y)
                 : "memory");
    asm volatile("st.shared.u32 [%0],%1;" ::"r"(ring.place()), "r"(row) : "memory");
    copy_chunk<Room>(ring.room(), map, row, barrier);
    ring.next();
  }
  __device__ void run(const uint16_t* begins, int tiles) {
    const AttnArgs& a = slab.args;
    const auto tokens = static_cast<int>(a.cache.page_tokens);
    const int each = static_cast<int>(a.cache.kv_heads) * tokens;
    const int items = tiles * static_cast<int>(a.heads);
    for (int round = 0; round * static_cast<int>(gridDim.x) < items; ++round) {
      const int item = item_of(round);
      if (item >= items) continue;
      const TallTile tile = TallTile::of(slab, begins, tiles, item);
      const TallWalk walk(slab, tile);
      const int32_t* const pages = read_early(&walk.seq->pages);
      const int head = tile.kv_head(slab) * tokens;
      int chunk = walk.begin();
      int page = find_page(walk, pages, chunk);
      while (chunk >= 0) {
        const int next = walk.after(chunk);
        // A look at the table takes as long as half a chunk: one ahead.
        const int ahead = find_page(walk, pages, next);
        const int row = page * each + head + PagePlace::of(slab, chunk).slot;
        const uint2 chunks = make_uint2(chunk, next);
        wait(ring.empty(), ring.parity ^ 1);
        bring(call.keys, row, ring.full(), chunks);
        wait(ring.empty(), ring.parity ^ 1);
        bring(call.values, row, ring.raw(), chunks);
        chunk = next, page = ahead;
      }
    }
  }
};

}  // namespace stepless::kernels::sm90
