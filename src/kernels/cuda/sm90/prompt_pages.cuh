// How keys and values of prompts travel: tiles of rows, the chunks that they read, and the
// warpgroup that copies these to a ring in shared memory (prompt_attention.cuh multiplies them).
#pragma once
#include "kernels/cuda/sm80/attention_parts.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"

namespace stepless::kernels::sm90 {

using namespace sm80;

constexpr int kReaders = 2, kReaderRows = 64, kTallRows = kReaders * kReaderRows;
constexpr int kTallThreads = 128 * (1 + kReaders);
constexpr int kTallSlab = 4096;  // rows of a launch: their tiles are listed in shared memory
constexpr int kStages = 10;      // of the ring: keys or values of a chunk
constexpr int kBehind = 5;       // copies in flight when a stage is announced

/// Shared memory. Keys, values and queries are blocks of 64 elements of a row, 128 bytes, one block
/// after the other.
template <int kDim>
struct TallRoom {
  static constexpr int kBlock = kChunk * 128, kStage = kBlock * (kDim / 64);
  static constexpr int kApart = kStages * kStage;  // values with zeros, per reader
  static constexpr int kQueryBlock = kReaderRows * 128;
  static constexpr int kQueryTile = kQueryBlock * (kDim / 64);
  static constexpr int kQueries = kApart + kReaders * kBlock;
  static constexpr int kReads = kQueries + kReaders * kQueryTile;  // Reads of the readers' rows
  static constexpr int kBarriers = kReads + kTallRows * static_cast<int>(sizeof(Reads));
  static constexpr int kChunks = kBarriers + 2 * kStages * 8;   // of each stage: its and the next
  static constexpr int kBegins = kChunks + kStages * 8;         // tiles' first rows
  static constexpr int kFound = kBegins + (kTallSlab + 2) * 2;  // a count per warp
  static constexpr int kBytes = kFound + kTallThreads / 32 * 4;
};

template <int kDim>
struct TallRing {
  uint32_t shared;
  int stage = 0;
  uint32_t parity = 0;
  __device__ uint32_t full() const { return shared + TallRoom<kDim>::kBarriers + stage * 8; }
  __device__ uint32_t empty() const { return full() + kStages * 8; }
  __device__ uint32_t chunks() const { return shared + TallRoom<kDim>::kChunks + stage * 8; }
  __device__ uint32_t room() const { return shared + stage * TallRoom<kDim>::kStage; }
  __device__ void next() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

/// The slab's tiles, at most kTallRows rows of one sequence, found by all threads together.
static __device__ int find_tall_tiles(const AttnSlab& slab, uint16_t* begins, int* found) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int all = 0;
  for (int r0 = 0; r0 < slab.rows; r0 += kTallThreads) {
    const int r = r0 + threadIdx.x;
    const SeqRow* const seq = slab.args.seq + slab.first_row + r;
    const bool here = r < slab.rows && (r == 0 || RowPlace::of(seq[0]).begins_tile(
                                                      RowPlace::of(seq[-1]), kTallRows));
    const unsigned mask = __ballot_sync(~0u, here);
    if (lane == 0) found[warp] = __popc(mask);
    __syncthreads();
    int before = all;
    for (int w = 0; w < kTallThreads / 32; ++w) {
      before += w < warp ? found[w] : 0;
      all += found[w];
    }
    if (here) begins[before + __popc(mask & ((1u << lane) - 1))] = static_cast<uint16_t>(r);
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
  __device__ int after(int chunk) const { return settle(chunk + kChunk); }
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

/// The warpgroup that copies: 16 bytes a thread at a time, zeros for what no row reads.
template <int kDim>
struct TallCopier {
  static constexpr int kPieces = kDim / 8, kRowsOfCopy = 128 / kPieces;

  const AttnSlab& slab;
  const uint32_t shared;
  const int thread = threadIdx.x % 128, piece = thread % kPieces, row0 = thread / kPieces;
  TallRing<kDim> ring{shared}, behind{shared};
  int copied = 0;

  /// The oldest stage that has not been is announced.
  __device__ void announce() {
    show_to_products();
    arrive(behind.full());
    behind.next();
  }
  /// A chunk's keys or values: `from` is this thread's first piece, `is` says which of its pieces
  /// are read.
  __device__ void bring(const uint8_t* from, unsigned is, int chunk, int next) {
    wait(ring.empty(), ring.parity ^ 1);
    const uint32_t to = ring.room() + piece / 8 * TallRoom<kDim>::kBlock + row0 * 128 +
                        ((piece % 8) ^ (row0 % 8)) * 16;
    static_assert(kRowsOfCopy % 8 == 0);
#pragma unroll
    for (int i = 0; i < kChunk / kRowsOfCopy; ++i)
      copy_or_zero16(to + i * kRowsOfCopy * 128, from + i * kRowsOfCopy * kDim * 2,
                     (is >> i & 1) != 0);
    if (thread == 0)
      asm volatile("st.shared.v2.u32 [%0],{%1,%2};" ::"r"(ring.chunks()), "r"(chunk), "r"(next)
                   : "memory");
    commit_copies();
    ring.next();
    if (copied++ < kBehind) return;
    wait_copies<kBehind>();
    announce();
  }
  /// Bits of the pieces that are read.
  __device__ unsigned pieces(const TallWalk& walk, int chunk) const {
    if (!walk.rotates && chunk >= walk.first && chunk + kChunk - 1 <= walk.last) return ~0u;
    unsigned is = 0;
#pragma unroll 1
    for (int i = 0; i < kChunk / kRowsOfCopy; ++i)
      is |= walk.is_read(chunk + row0 + i * kRowsOfCopy) ? 1u << i : 0;
    return is;
  }
  __device__ void run(const uint16_t* begins, int tiles) {
    const AttnArgs& a = slab.args;
    const auto kv_heads = static_cast<int>(a.cache.kv_heads);
    const auto tokens = static_cast<int>(a.cache.page_tokens);
    const int items = tiles * static_cast<int>(a.heads);
    for (int item = blockIdx.x; item < items; item += gridDim.x) {
      const TallTile tile = TallTile::of(slab, begins, tiles, item);
      const TallWalk walk(slab, tile);
      const int32_t* const pages = read_early(&walk.seq->pages);
      const int head = tile.kv_head(slab) * tokens;
      int chunk = walk.begin();
      int page = read_early(pages + PagePlace::of(slab, chunk).page);
      while (chunk >= 0) {
        const int next = walk.after(chunk);
        // A look at the table takes as long as half a chunk: one ahead.
        const int ahead = read_early(pages + PagePlace::of(slab, next >= 0 ? next : chunk).page);
        const int64_t place =
            int64_t{page} * (kv_heads * tokens) + head + PagePlace::of(slab, chunk).slot + row0;
        const int64_t from = (place * kDim + piece * 8) * 2;
        const unsigned is = pieces(walk, chunk);
        bring(a.cache.k + from, is, chunk, next);
        bring(a.cache.v + from, is, chunk, next);
        chunk = next, page = ahead;
      }
    }
    wait_copies<0>();
    for (int i = min(copied, kBehind); i > 0; --i) announce();
  }
};

}  // namespace stepless::kernels::sm90
