// Queries, and keys and values of a chunk of 64 positions, on their way to shared memory: 8 threads
// to a row or position. What no row of the tile reads is zero there, whatever lies in its page.
#pragma once
#include "kernels/cuda/sm80/attention_parts.cuh"

namespace stepless::kernels::sm80 {

/// Shared memory, in elements of 16 bits: queries, keys, values, both halves of the weights.
struct TileRoom {
  int k_pitch, v_pitch;  // between rows: the head's size up to 16s, and the padding
  int q, k, v, p, end;
};
constexpr int kWeightPitch = kChunk + kPad;

static __host__ __device__ int up_to_16(int64_t n) { return static_cast<int>((n + 15) / 16 * 16); }

static __host__ __device__ TileRoom room_of(const AttnArgs& a, int tile_rows) {
  TileRoom room{};
  room.k_pitch = up_to_16(a.cache.k_dim) + kPad, room.v_pitch = up_to_16(a.cache.v_dim) + kPad;
  room.k = tile_rows * room.k_pitch;
  room.v = room.k + kChunk * room.k_pitch;
  room.p = room.v + kChunk * room.v_pitch;
  room.end = room.p + 2 * tile_rows * kWeightPitch;
  return room;
}

constexpr int kLanesOfRow = 8, kRowsAtOnce = kAttnThreads / kLanesOfRow;

/// A row of `dim` elements into shared memory, zeros up to a multiple of 16, by 8 threads; `is`
/// false: zeros, and `from` is not read. Code that is seldom needed stays out of the main loop,
/// which has to fit the instruction cache.
static __device__ __noinline__ void copy_elements(uint16_t* to, const uint16_t* from, int dim,
                                                  bool is) {
  // Past the first-level cache: what the step writes may share a line with what was fetched before.
#pragma unroll 1
  for (int i = threadIdx.x % kLanesOfRow; i < up_to_16(dim); i += kLanesOfRow)
    to[i] = is && i < dim ? __ldcg(from + i) : uint16_t{0};
}
static __device__ __forceinline__ void copy_queries(const AttnSlab& slab, const Tile& tile,
                                                    uint16_t* to, int tile_rows, int pitch) {
  const AttnArgs& a = slab.args;
  const int dim = static_cast<int>(a.cache.k_dim);
  const bool by_eight = dim % 8 == 0 && a.q_stride % 8 == 0;
  const auto* const q = static_cast<const uint16_t*>(a.q) +
                        (slab.first_row + tile.first) * a.q_stride +
                        static_cast<int64_t>(tile.head) * dim;
#pragma unroll 1
  for (int row = threadIdx.x / kLanesOfRow; row < tile_rows; row += kRowsAtOnce) {
    const int query = row / tile.heads, head = row - query * tile.heads;
    const uint16_t* const from = q + query * a.q_stride + head * dim;
    if (!by_eight) {
      copy_elements(to + row * pitch, from, dim, query < tile.rows);
      continue;
    }
#pragma unroll 1
    for (int i = threadIdx.x % kLanesOfRow * 8; i < up_to_16(dim); i += kLanesOfRow * 8)
      copy_or_zero16(shared_address(to + row * pitch + i), from + i, query < tile.rows && i < dim);
  }
}

/// A chunk, and what of it one thread copies: positions kRowsAtOnce * i + thread / kLanesOfRow.
struct Chunk {
  int first;      // its first position
  unsigned is;    // bits i: of the positions that are read; the others become zeros
  int64_t place;  // of its first position among those of all pages, if these hold whole chunks

  static constexpr int kOwn = kChunk / kRowsAtOnce;
  static constexpr unsigned kAll = (1u << kOwn) - 1;
  __device__ int position(int i) const {
    return first + kRowsAtOnce * i + static_cast<int>(threadIdx.x) / kLanesOfRow;
  }
  /// Bits of the positions from `from` on that are read.
  __device__ unsigned since(int from) const {
    unsigned bits = 0;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) bits |= position(i) >= from ? 1u << i : 0;
    return bits & is;
  }
};

/// Keys or values of one KV head, and where they go.
struct ChunkCopy {
  const uint16_t* from;
  int dim, kv_head;
  uint16_t* to;
  int pitch;
};

/// Positions `todo` (bits), where pages are cut otherwise than chunks, or heads hold no whole 16
/// bytes.
static __device__ __noinline__ void copy_scattered(const AttnSlab& slab, const int32_t* pages,
                                                   Chunk chunk, unsigned todo, ChunkCopy copy) {
  const KvLayer& cache = slab.args.cache;
#pragma unroll 1
  for (int i = 0; i < Chunk::kOwn; ++i) {
    if ((todo >> i & 1) == 0) continue;
    const bool is = (chunk.is >> i & 1) != 0;
    const PagePlace at = PagePlace::of(slab, chunk.position(i));
    const int64_t page = is ? read_early(pages + at.page) : 0;
    const int64_t place = (page * cache.kv_heads + copy.kv_head) * cache.page_tokens + at.slot;
    copy_elements(copy.to + (chunk.position(i) - chunk.first) * copy.pitch,
                  copy.from + place * copy.dim, copy.dim, is);
  }
}

/// The same where pages hold whole chunks and heads whole 16 bytes, at most 64 * kPieces elements.
template <int kPieces>
static __device__ __forceinline__ void copy_whole(Chunk chunk, unsigned todo, ChunkCopy copy) {
  const int row = threadIdx.x / kLanesOfRow, column = threadIdx.x % kLanesOfRow * 8;
  const uint16_t* from = copy.from + (chunk.place + row) * copy.dim + column;
  uint32_t to = shared_address(copy.to + row * copy.pitch + column);
  bool there[kPieces];
#pragma unroll
  for (int e = 0; e < kPieces; ++e) there[e] = column + 64 * e < copy.dim;
#pragma unroll
  for (int i = 0; i < Chunk::kOwn; ++i) {
    if ((todo >> i & 1) != 0) {
#pragma unroll
      for (int e = 0; e < kPieces; ++e)
        if (there[e]) copy_or_zero16(to + 128 * e, from + 64 * e, (chunk.is >> i & 1) != 0);
    }
    from += kRowsAtOnce * copy.dim;
    to += kRowsAtOnce * copy.pitch * 2;
  }
}

}  // namespace stepless::kernels::sm80
