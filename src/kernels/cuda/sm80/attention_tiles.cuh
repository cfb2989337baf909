// Attention over plain pages of bf16 or f16 by tensor cores. A block takes the query rows of one
// sequence that stand together, times the heads that share a KV head, as one tile of 16 or 64 rows,
// and one share of the KV axis: of its chunks of 64 positions, counted from 0, share s takes every
// kShares-th from s on, in order. A second kernel merges the shares in order. A row's bits follow
// from its own position, never from the tile: each row of a product is summed alone, and a chunk
// that a row does not read leaves its sums as they are.
//
// Weights are split in two numbers of 16 bits, of which the second is what the first lost: values
// meet weights of 16 bits or more. Each of the four warps makes the scores of 16 positions and the
// values of a quarter of the columns.
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

/// A row of `dim` elements into shared memory, zeros up to a multiple of 16; from null: zeros.
/// `eighths` says that it may go by 16 bytes; lanes of a row: [lane, lanes).
static __device__ void copy_row(uint16_t* to, const uint16_t* from, int dim, bool eighths, int lane,
                                int lanes) {
  const int padded = up_to_16(dim);
  for (int i = lane * 8; i < padded; i += lanes * 8) {
    if (eighths && from != nullptr && i + 8 <= dim) {
      copy_async<16>(shared_address(to + i), from + i);
      continue;
    }
    for (int e = 0; e < 8; ++e)
      to[i + e] = from != nullptr && i + e < dim ? from[i + e] : uint16_t{0};
  }
}

template <DType type, int kTiles, int kCols>
struct AttnTile {
  static constexpr int kRows = 16 * kTiles;

  const AttnSlab& slab;
  const AttnArgs& a;
  const TileRoom room;
  uint16_t* const shared;
  Tile tile;
  int64_t kv_head, head;  // head: the first of the tile's
  int heads;
  Reads (&reads)[kMostTileRows];
  float (&meet)[2][kAttnWarps][kMostTileRows];  // peaks and sums of the warps' positions
  float acc[kTiles][kCols][4] = {};
  float peak[kTiles][2], total[kTiles][2];

  __device__ int lane() const { return threadIdx.x % 32; }
  __device__ int warp() const { return threadIdx.x / 32; }
  /// The row of the tile that accumulator half h of 16-row tile t holds in this lane.
  __device__ int row_of(int t, int h) const { return 16 * t + lane() / 4 + 8 * h; }
  /// Its query row among the tile's; rows behind the last one read what the last one reads.
  __device__ int query_of(int row) const {
    const int query = row / heads;
    return query < tile.rows ? query : tile.rows - 1;
  }

  __device__ void start() {
    for (int r = threadIdx.x; r < tile.rows; r += kAttnThreads)
      reads[r] = reads_of(a, a.seq[slab.first_row + tile.first + r]);
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
      for (int h = 0; h < 2; ++h) peak[t][h] = -INFINITY, total[t][h] = 0.0f;
    __syncthreads();
  }

  __device__ void load_queries() {
    const auto* q = static_cast<const uint16_t*>(a.q);
    const int64_t dim = a.cache.k_dim;
    const bool eighths = dim % 8 == 0 && a.q_stride % 8 == 0;
    for (int row = warp() * 4 + lane() / 8; row < kRows; row += kAttnWarps * 4) {
      const bool is = row < tile.rows * heads;
      const int64_t at =
          (slab.first_row + tile.first + row / heads) * a.q_stride + (head + row % heads) * dim;
      copy_row(shared + row * room.k_pitch, is ? q + at : nullptr, static_cast<int>(dim), eighths,
               lane() % 8, 8);
    }
    commit_copies();
  }

  /// Keys or values of a chunk. What no row of the tile reads is zero, whatever lies there; with
  /// `only`, what that row does not read.
  __device__ void load_chunk(const uint8_t* from, int64_t dim, uint16_t* to, int pitch,
                             int64_t chunk, const Reads* only) {
    const SeqRow& seq = a.seq[slab.first_row + tile.first];
    const int64_t first = reads[0].first, last = reads[tile.rows - 1].last;
    for (int j = warp() * 4 + lane() / 8; j < kChunk; j += kAttnWarps * 4) {
      const int64_t at = chunk * kChunk + j;
      const bool is =
          only != nullptr ? only->has(at) : at >= first && at <= last && anyone_reads(at);
      const uint16_t* row = nullptr;
      if (is) {
        const int64_t page = seq.pages[at / a.cache.page_tokens];
        const int64_t place =
            (page * a.cache.kv_heads + kv_head) * a.cache.page_tokens + at % a.cache.page_tokens;
        row = reinterpret_cast<const uint16_t*>(from) + place * dim;
      }
      copy_row(to + j * pitch, row, static_cast<int>(dim), dim % 8 == 0, lane() % 8, 8);
    }
    commit_copies();
  }
  __device__ void load_keys(int64_t chunk) {
    load_chunk(a.cache.k, a.cache.k_dim, shared + room.k, room.k_pitch, chunk, nullptr);
  }
  __device__ void load_values(int64_t chunk, const Reads* only = nullptr) {
    load_chunk(a.cache.v, a.cache.v_dim, shared + room.v, room.v_pitch, chunk, only);
  }

  /// In a rotating cache a page in the middle may be gone, which no row reads then.
  __device__ bool anyone_reads(int64_t at) const {
    if (reads[0].kept == 0) return true;
    for (int r = 0; r < tile.rows; ++r)
      if (reads[r].has(at)) return true;
    return false;
  }

  /// Whether some row reads some position of the chunk.
  __device__ bool is_read(int64_t chunk) const {
    const int64_t begin = chunk * kChunk;
    if (reads[0].kept == 0) return true;
    for (int r = 0; r < tile.rows; ++r)
      if (begin < reads[r].kept || begin + kChunk > reads[r].resume) return true;
    return false;
  }
  /// Whether every row reads all of the chunk.
  __device__ bool is_whole(int64_t chunk) const {
    const int64_t begin = chunk * kChunk;
    return begin + kChunk - 1 <= reads[0].last && begin >= reads[tile.rows - 1].first &&
           reads[0].kept == 0;
  }

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
  __device__ void finish_scores(float (&s)[kTiles][2][4], int64_t chunk) {
    const bool whole = is_whole(chunk);
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Reads& mine = reads[query_of(row_of(t, i / 2))];
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          float score = s[t][n][i] * a.scale;
          if (a.softcap != 0.0f) score = tanhf(score / a.softcap) * a.softcap;
          const int64_t at = chunk * kChunk + 16 * warp() + 8 * n + lane() % 4 * 2 + i % 2;
          s[t][n][i] = whole || mine.has(at) ? score : -INFINITY;
        }
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
        float now = peak[t][h];
        for (int w = 0; w < kAttnWarps; ++w) now = max_or_nan(now, meet[0][w][row_of(t, h)]);
        shrink[t][h] = expf(peak[t][h] - (now == -INFINITY ? 0.0f : now));
        peak[t][h] = now;
      }
  }

  /// e^(score - peak) in two numbers of 16 bits, and the sums of this warp's.
  __device__ void store_weights(const float (&s)[kTiles][2][4]) {
    uint16_t* const p = shared + room.p;
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        // All may be -infinity, in a chunk that the row does not read: then nothing weighs.
        const float base = peak[t][h] == -INFINITY ? 0.0f : peak[t][h];
        const int row = row_of(t, h);
        float sum = 0.0f;
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          uint32_t high = 0, low = 0;
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const float weight = expf(s[t][n][2 * h + e] - base);
            const uint16_t near = narrowed<type>(weight);
            high |= static_cast<uint32_t>(near) << 16 * e;
            low |= static_cast<uint32_t>(narrowed<type>(weight - widened<type>(near))) << 16 * e;
            sum += weight;
          }
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
        total[t][h] = fmaf(total[t][h], shrink[t][h], sum);
      }
  }

  __device__ bool has_columns(int c) const {
    return (warp() * kCols + c) * 8 < up_to_16(a.cache.v_dim);
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

  /// acc += weights · values of the chunk.
  __device__ void add_values() {
    for (int step = 0; step < kChunk / 16; ++step) {
      uint32_t v[kCols / 2][4];
#pragma unroll
      for (int c = 0; c < kCols; c += 2)
        if (has_columns(c)) load_columns(v[c / 2], c, step);
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int low = 0; low < 2; ++low) {
          uint32_t w[4];
          load_weights(w, t, step, low);
#pragma unroll
          for (int c = 0; c < kCols; c += 2) {
            if (!has_columns(c)) continue;
            mma16<type>(acc[t][c], w, v[c / 2][0], v[c / 2][1]);
            mma16<type>(acc[t][c + 1], w, v[c / 2][2], v[c / 2][3]);
          }
        }
    }
  }

  /// The same where a row leaves out values that are NaN or infinite, which would make NaN of its
  /// weight 0: row by row, the values of others zero. Sums are those of add_values().
  __device__ void add_values_apart(int64_t chunk) {
    for (int r = 0; r < tile.rows; ++r) {
      load_values(chunk, &reads[r]);
      wait_copies<0>();
      __syncthreads();
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int c = 0; c < kCols; c += 2) {
          if (!has_columns(c)) continue;
          float sum[2][4];
          for (int i = 0; i < 4; ++i) sum[0][i] = acc[t][c][i], sum[1][i] = acc[t][c + 1][i];
          for (int step = 0; step < kChunk / 16; ++step) {
            uint32_t v[4], w[4];
            load_columns(v, c, step);
            for (int low = 0; low < 2; ++low) {
              load_weights(w, t, step, low);
              mma16<type>(sum[0], w, v[0], v[1]);
              mma16<type>(sum[1], w, v[2], v[3]);
            }
          }
#pragma unroll
          for (int i = 0; i < 4; ++i)
            if (query_of(row_of(t, i / 2)) == r)
              acc[t][c][i] = sum[0][i], acc[t][c + 1][i] = sum[1][i];
        }
      __syncthreads();
    }
  }

  __device__ bool values_are_finite() const {
    const uint16_t* const v = shared + room.v;
    const int width = up_to_16(a.cache.v_dim);
    bool bad = false;
    for (int j = threadIdx.x; j < kChunk * width; j += kAttnThreads)
      bad = bad || not_finite<type>(v[j / width * room.v_pitch + j % width]);
    return __syncthreads_or(bad) == 0;
  }

  /// The chunk's keys are on their way; those of `next` are when this returns (-1: none).
  __device__ void add_chunk(int64_t chunk, int64_t next) {
    float s[kTiles][2][4], shrink[kTiles][2];
    load_values(chunk);
    wait_copies<1>();
    __syncthreads();
    make_scores(s);
    finish_scores(s, chunk);
    find_peaks(s, shrink);  // behind its barrier the keys have been read
    if (next >= 0) load_keys(next);
    store_weights(s);
    next >= 0 ? wait_copies<1>() : wait_copies<0>();
    __syncthreads();
    add_totals(shrink);
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int c = 0; c < kCols; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) acc[t][c][i] *= shrink[t][i / 2];
    if (is_whole(chunk) || values_are_finite())
      add_values();
    else
      add_values_apart(chunk);
    __syncthreads();
  }

  __device__ void store(int share) const {
    const int64_t width = a.cache.v_dim + 2;
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = row_of(t, h);
        if (row >= tile.rows * heads) continue;
        const int64_t at = (tile.first + row / heads) * a.heads + head + row % heads;
        float* const to = slab.partial + (at * kShares + share) * width;
        if (warp() == 0 && lane() % 4 == 0) to[0] = peak[t][h], to[1] = total[t][h];
        if (peak[t][h] == -INFINITY) continue;  // read nothing: the merge passes it over
#pragma unroll
        for (int c = 0; c < kCols; ++c)
          for (int e = 0; e < 2; ++e) {
            const int64_t column = (warp() * kCols + c) * 8 + lane() % 4 * 2 + e;
            if (column < a.cache.v_dim) to[2 + column] = acc[t][c][2 * h + e];
          }
      }
  }

  __device__ int64_t next_chunk(int64_t chunk) const {
    const int64_t last = reads[tile.rows - 1].last / kChunk;
    while (chunk <= last && !is_read(chunk)) chunk += kShares;
    return chunk <= last ? chunk : -1;
  }

  __device__ void run(int share) {
    start();
    const int64_t begin = reads[0].first / kChunk;
    int64_t chunk = next_chunk(begin + (share - begin % kShares + kShares) % kShares);
    if (chunk >= 0) {
      load_queries();
      load_keys(chunk);
    }
    while (chunk >= 0) {
      const int64_t next = next_chunk(chunk + kShares);
      add_chunk(chunk, next);
      chunk = next;
    }
    wait_copies<0>();
    store(share);
    __syncthreads();
  }
};

template <DType type, int kTiles, int kCols>
__global__ void __launch_bounds__(kAttnThreads) attend_tiles(AttnSlab slab) {
  extern __shared__ uint4 dynamic[];
  __shared__ Reads reads[kMostTileRows];
  __shared__ float meet[2][kAttnWarps][kMostTileRows];
  __shared__ int begins[kSlabRows + 1];
  const AttnArgs& a = slab.args;
  begin_early();
  const int tiles = find_tiles(slab, 16 * kTiles / slab.heads_of_tile, begins);
  const int kv_heads = static_cast<int>(a.cache.kv_heads);
  const int64_t each = a.heads / a.cache.kv_heads;
  for (int64_t item = blockIdx.x; item < int64_t{tiles} * kv_heads * slab.batches * kShares;
       item += gridDim.x) {
    int64_t left = item;
    const int t = static_cast<int>(left % tiles);
    left /= tiles;
    const int64_t kv_head = left % kv_heads;
    left /= kv_heads;
    const int64_t begin = left % slab.batches * slab.heads_of_tile;
    const int64_t heads = each - begin < slab.heads_of_tile ? each - begin : slab.heads_of_tile;
    AttnTile<type, kTiles, kCols> tile{slab,
                                       a,
                                       room_of(a, 16 * kTiles),
                                       reinterpret_cast<uint16_t*>(dynamic),
                                       {begins[t], begins[t + 1] - begins[t]},
                                       kv_head,
                                       kv_head * each + begin,
                                       static_cast<int>(heads),
                                       reads,
                                       meet};
    tile.run(static_cast<int>(left / slab.batches));
  }
}

}  // namespace stepless::kernels::sm80
