// Attention over plain pages of bf16 or f16 by tensor cores. A tile is 16 rows or more: the query
// rows of one sequence that stand together, times the heads that share a KV head. Of the chunks of
// 64 positions, counted from 0, share s of the KV axis has every kShares-th from s on, in order;
// the shares of a row meet in order, too. A row's bits follow from its own position, never from the
// tile: each row of a product is summed alone, and a chunk that a row does not read leaves its sums
// as they are.
//
// Weights are split in two numbers of 16 bits, of which the second is what the first lost: values
// meet weights of 16 bits or more. Each of the four warps makes the scores of 16 positions and the
// values of a quarter of the columns.
#pragma once
#include "kernels/cuda/sm80/attention_chunks.cuh"

namespace stepless::kernels::sm80 {

/// What the warps of a block show each other: peaks and sums of their positions.
template <int kTiles>
using Meeting = float[2][kAttnWarps][16 * kTiles];

template <DType type, int kTiles, int kCols>
struct AttnTile {
  static constexpr int kRows = 16 * kTiles;

  const AttnSlab& slab;
  const AttnArgs& a;
  const TileRoom room;
  uint16_t* const shared;
  const Reads (&reads)[kRows];  // of the tile's rows; those behind the last read what it reads
  Meeting<kTiles>& meet;
  Tile tile;
  const int32_t* const pages;  // of the sequence
  const bool rotates;
  int first, last;   // positions that any row reads
  int written_from;  // positions from here on are the step's own
  Sums<kTiles, kCols> own;

  /// `reads` is there for all to see.
  __device__ AttnTile(const AttnSlab& all, uint4* dynamic, const Reads (&rows)[kRows],
                      Meeting<kTiles>& meeting, const Tile& one, const int32_t* table, int written)
      : slab(all),
        a(all.args),
        room(room_of(all.args, kRows)),
        shared(reinterpret_cast<uint16_t*>(dynamic)),
        reads(rows),
        meet(meeting),
        tile(one),
        pages(table),
        rotates(rows[0].kept != 0 || rows[kRows - 1].kept != 0),
        first(rows[0].first),
        last(rows[kRows - 1].last),
        written_from(written) {
    own.clear();
  }

  static __device__ int lane() { return threadIdx.x % 32; }
  static __device__ int warp() { return threadIdx.x / 32; }
  /// The row of the tile that accumulator half h of 16-row tile t holds in this lane.
  static __device__ int row_of(int t, int h) { return 16 * t + lane() / 4 + 8 * h; }

  /// Where a chunk is and what is read of it: by any row, or by one.
  __device__ Chunk find(int chunk, const Reads* only = nullptr) const {
    Chunk found{chunk, Chunk::kAll, 0};
    if (only != nullptr || chunk < first || chunk + kChunk - 1 > last || rotates) {
      found.is = 0;
#pragma unroll
      for (int i = 0; i < Chunk::kOwn; ++i) {
        const int at = found.position(i);
        const bool is = only != nullptr
                            ? only->has(at)
                            : at >= first && at <= last &&
                                  (!rotates || anyone_reads(reads, kRows, tile.heads, at));
        found.is |= is ? 1u << i : 0;
      }
    }
    if (slab.whole_pages) {
      const PagePlace at = PagePlace::of(slab, chunk);
      const auto tokens = static_cast<int>(a.cache.page_tokens);
      const auto kv_heads = static_cast<int>(a.cache.kv_heads);
      found.place = int64_t{read_early(pages + at.page)} * (kv_heads * tokens) +
                    (tile.kv_head * tokens + at.slot);
    }
    return found;
  }
  __device__ void copy_queries() const {
    sm80::copy_queries(slab, tile, shared, kRows, room.k_pitch);
  }
  __device__ ChunkCopy keys() const {
    return {reinterpret_cast<const uint16_t*>(a.cache.k), static_cast<int>(a.cache.k_dim),
            tile.kv_head, shared + room.k, room.k_pitch};
  }
  __device__ ChunkCopy values() const {
    return {reinterpret_cast<const uint16_t*>(a.cache.v), static_cast<int>(a.cache.v_dim),
            tile.kv_head, shared + room.v, room.v_pitch};
  }
  __device__ void copy_keys(const Chunk& chunk, unsigned todo = Chunk::kAll) const {
    if (slab.whole_pages)
      copy_whole<4>(chunk, todo, keys());
    else
      copy_scattered(slab, pages, chunk, todo, keys());
  }
  __device__ void copy_values(const Chunk& chunk, unsigned todo = Chunk::kAll) const {
    if (slab.whole_pages)
      copy_whole<kCols / 2>(chunk, todo, values());
    else
      copy_scattered(slab, pages, chunk, todo, values());
  }
  /// Zeros behind the heads of 8, 24, 40 ... elements, which copies leave as they are. What lies
  /// behind values meets columns that nobody stores.
  __device__ void clear_tails() const {
    const int dim = static_cast<int>(a.cache.k_dim);
    if (dim % 16 == 0) return;
    for (int j = threadIdx.x; j < kChunk; j += kAttnThreads)
#pragma unroll 1
      for (int i = dim; i < up_to_16(dim); ++i) shared[room.k + j * room.k_pitch + i] = 0;
  }

  /// Whether some row reads some position of the chunk.
  __device__ bool is_read(int chunk) const {
    return !rotates || anyone_reads_chunk(reads, kRows, tile.heads, chunk);
  }
  /// Whether every row reads all of the chunk.
  __device__ bool is_whole(int chunk) const {
    return chunk + kChunk - 1 <= reads[0].last && chunk >= reads[kRows - 1].first && !rotates;
  }
  /// The first chunk of a share, from `chunk` on, that any row reads; -1: none.
  __device__ int settle(int chunk) const {
#pragma unroll 1
    while (chunk <= last && !is_read(chunk)) chunk += kShares * kChunk;
    return chunk <= last ? chunk : -1;
  }
  __device__ int after(int chunk) const { return settle(chunk + kShares * kChunk); }

  /// Scores of this warp's 16 positions: s[t][n] for the 8 positions from 16 * warp + 8 * n on.
  __device__ void make_scores(float (&s)[kTiles][2][4]) {
    const int l = lane();
    const uint32_t k_at = shared_address(
        shared + room.k + (16 * warp() + l / 16 * 8 + l % 8) * room.k_pitch + l / 8 % 2 * 8);
    const uint32_t q_at = shared_address(shared + (l % 16) * room.k_pitch + l / 16 * 8);
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
      for (int n = 0; n < 2; ++n)
        for (int i = 0; i < 4; ++i) s[t][n][i] = 0.0f;
    const int steps = up_to_16(a.cache.k_dim) / 16;
#pragma unroll 4
    for (int step = 0; step < steps; ++step) {
      uint32_t b[4];
      load_matrices(b, k_at + step * 32);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        uint32_t q[4];
        load_matrices(q, q_at + static_cast<uint32_t>(16 * t * room.k_pitch) * 2 + step * 32);
        mma16<type>(s[t][0], q, b[0], b[1]);
        mma16<type>(s[t][1], q, b[2], b[3]);
      }
    }
  }

  /// Scaled, capped, and -infinity where a row does not read.
  __device__ void finish_scores(float (&s)[kTiles][2][4], int chunk) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) s[t][n][i] *= slab.scale;
    if (slab.cap != 0.0f) {
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) s[t][n][i] = tanhf(s[t][n][i]) * slab.cap;
    }
    if (is_whole(chunk)) return;
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Reads& mine = reads[row_of(t, i / 2)];
#pragma unroll
        for (int n = 0; n < 2; ++n)
          if (!mine.has(chunk + 16 * warp() + 8 * n + lane() % 4 * 2 + i % 2))
            s[t][n][i] = -INFINITY;
      }
  }

  /// Peaks of all warps' positions: what weights are relative to from here on, and by how much
  /// earlier sums shrink.
  __device__ void find_peaks(const float (&s)[kTiles][2][4], float (&shrink)[kTiles][2]) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
      for (int h = 0; h < 2; ++h) {
        float top = max_or_nan(max_or_nan(s[t][0][2 * h], s[t][0][2 * h + 1]),
                               max_or_nan(s[t][1][2 * h], s[t][1][2 * h + 1]));
        top = max_or_nan(top, __shfl_xor_sync(~0u, top, 1));
        top = max_or_nan(top, __shfl_xor_sync(~0u, top, 2));
        if (lane() % 4 == 0) meet[0][warp()][row_of(t, h)] = top;
      }
    __syncthreads();
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
      for (int h = 0; h < 2; ++h) {
        float now = own.peak[t][h];
        for (int w = 0; w < kAttnWarps; ++w) now = max_or_nan(now, meet[0][w][row_of(t, h)]);
        shrink[t][h] = power_of_2(own.peak[t][h] - (now == -INFINITY ? 0.0f : now));
        own.peak[t][h] = now;
      }
  }

  /// 2^(score - peak) in two numbers of 16 bits, and the sums of this warp's.
  __device__ void store_weights(const float (&s)[kTiles][2][4]) {
    uint16_t* const p = shared + room.p;
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        // All may be -infinity, in a chunk that the row does not read: then nothing weighs.
        const float base = own.peak[t][h] == -INFINITY ? 0.0f : own.peak[t][h];
        const int row = row_of(t, h);
        float sum = 0.0f;
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const float a0 = power_of_2(s[t][n][2 * h] - base),
                      a1 = power_of_2(s[t][n][2 * h + 1] - base);
          const uint32_t high = narrowed<type>(a0, a1);
          const float2 near = widened<type>(high);
          const uint32_t low = narrowed<type>(a0 - near.x, a1 - near.y);
          sum += a0, sum += a1;
          uint16_t* const to = p + row * kWeightPitch + 16 * warp() + 8 * n + lane() % 4 * 2;
          *reinterpret_cast<uint32_t*>(to) = high;
          *reinterpret_cast<uint32_t*>(to + kRows * kWeightPitch) = low;
        }
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        if (lane() % 4 == 0) meet[1][warp()][row] = sum;
      }
  }

  __device__ void add_totals(const float (&shrink)[kTiles][2]) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
      for (int h = 0; h < 2; ++h) {
        const int row = row_of(t, h);
        const float sum = (meet[1][0][row] + meet[1][1][row]) + (meet[1][2][row] + meet[1][3][row]);
        own.total[t][h] = fmaf(own.total[t][h], shrink[t][h], sum);
      }
  }

  /// Weights of 16 rows and positions, high or low; values of 16 positions, columns c and c + 1.
  __device__ void load_weights(uint32_t (&w)[4], int t, int step, int low) const {
    const int l = lane();
    load_matrices(
        w, shared_address(shared + room.p + ((low * kTiles + t) * 16 + l % 16) * kWeightPitch +
                          step * 16 + l / 16 * 8));
  }
  __device__ void load_columns(uint32_t (&v)[4], int c, int step) const {
    const int l = lane();
    load_transposed(v, shared_address(shared + room.v + (step * 16 + l % 16) * room.v_pitch +
                                      (warp() * kCols + c + l / 16) * 8));
  }

  /// acc += weights · values of the chunk. Columns behind the last hold anything, and are not
  /// stored.
  __device__ void add_values() {
#pragma unroll
    for (int step = 0; step < kChunk / 16; ++step) {
      uint32_t v[kCols / 2][4];
#pragma unroll
      for (int c = 0; c < kCols; c += 2) load_columns(v[c / 2], c, step);
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int low = 0; low < 2; ++low) {
          uint32_t w[4];
          load_weights(w, t, step, low);
#pragma unroll
          for (int c = 0; c < kCols; c += 2) {
            mma16<type>(own.acc[t][c], w, v[c / 2][0], v[c / 2][1]);
            mma16<type>(own.acc[t][c + 1], w, v[c / 2][2], v[c / 2][3]);
          }
        }
    }
  }

  /// The same where a row leaves out values that are NaN or infinite, which would make NaN of its
  /// weight 0: row by row, the values of others zero. Sums are those of add_values().
  __device__ void add_values_apart(int chunk) {
#pragma unroll 1
    for (int r = 0; r < tile.rows; ++r) {
      copy_values(find(chunk, &reads[r * tile.heads]));
      commit_copies();
      wait_copies<0>();
      __syncthreads();
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int c = 0; c < kCols; c += 2) {
          float sum[2][4];
          for (int i = 0; i < 4; ++i)
            sum[0][i] = own.acc[t][c][i], sum[1][i] = own.acc[t][c + 1][i];
#pragma unroll 1
          for (int step = 0; step < kChunk / 16; ++step) {
            uint32_t v[4], w[4];
            load_columns(v, c, step);
#pragma unroll
            for (int low = 0; low < 2; ++low) {
              load_weights(w, t, step, low);
              mma16<type>(sum[0], w, v[0], v[1]);
              mma16<type>(sum[1], w, v[2], v[3]);
            }
          }
#pragma unroll
          for (int i = 0; i < 4; ++i)
            if (row_of(t, i / 2) / tile.heads == r)
              own.acc[t][c][i] = sum[0][i], own.acc[t][c + 1][i] = sum[1][i];
        }
      __syncthreads();
    }
  }

  /// Rows of one tile may leave out what others read; of what no row reads there are zeros.
  __device__ bool values_are_finite() const {
    const int width = up_to_16(a.cache.v_dim);
    bool bad = false;
#pragma unroll 1
    for (int j = threadIdx.x / kLanesOfRow; j < kChunk; j += kRowsAtOnce)
      for (int i = threadIdx.x % kLanesOfRow * 8; i < width; i += kLanesOfRow * 8) {
        const uint4 v = load_shared16(shared_address(shared + room.v + j * room.v_pitch + i));
        bad = bad || not_finite<type>(v.x) || not_finite<type>(v.y) || not_finite<type>(v.z) ||
              not_finite<type>(v.w);
      }
    return __syncthreads_or(bad) == 0;
  }

  /// Adds a chunk that has been fetched; `next` is being fetched when this returns, unless it is
  /// -1.
  __device__ Chunk add(int chunk, int next) {
    float s[kTiles][2][4], shrink[kTiles][2];
    // Its pages are looked up while scores are made.
    const Chunk ahead = next >= 0 ? find(next) : Chunk{};
    wait_copies<1>();
    __syncthreads();
    make_scores(s);
    finish_scores(s, chunk);
    find_peaks(s, shrink);  // behind its barrier the keys have been read
    if (next >= 0) copy_keys(ahead);
    commit_copies();
    store_weights(s);
    wait_copies<1>();
    __syncthreads();
    add_totals(shrink);
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int c = 0; c < kCols; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) own.acc[t][c][i] *= shrink[t][i / 2];
    if (tile.rows == 1 || is_whole(chunk) || values_are_finite())
      add_values();
    else
      add_values_apart(chunk);
    __syncthreads();
    if (next >= 0) copy_values(ahead);
    commit_copies();
    return ahead;
  }

  /// Tells merge_units() that nothing of a share is read.
  __device__ void store_none(int share) const {
    if (const int row = threadIdx.x; row < tile.rows * tile.heads) {
      const int query = row / tile.heads, head = row - query * tile.heads;
      slab.sums[slab.unit_of(tile.first + query, tile.head + head) * kShares + share] =
          make_float2(-INFINITY, 0.0f);
    }
  }
  /// Leaves the sums where merge_units() finds them.
  __device__ void store(int share) const {
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = row_of(t, h);
        if (row >= tile.rows * tile.heads) continue;
        const int query = row / tile.heads, head = row - query * tile.heads;
        const int64_t at = slab.unit_of(tile.first + query, tile.head + head) * kShares + share;
        if (warp() == 0 && lane() % 4 == 0)
          slab.sums[at] = make_float2(own.peak[t][h], own.total[t][h]);
        if (own.peak[t][h] == -INFINITY) continue;  // read nothing: the merge passes it over
#pragma unroll
        for (int c = 0; c < kCols; ++c) {
          const int column = (warp() * kCols + c) * 8 + lane() % 4 * 2;
          if (column < slab.pitch)
            *reinterpret_cast<float2*>(slab.values + at * slab.pitch + column) =
                make_float2(own.acc[t][c][2 * h], own.acc[t][c][2 * h + 1]);
        }
      }
  }
};

}  // namespace stepless::kernels::sm80
