// Attention over plain pages of 16 bits: the sums of attention.cuh, with keys and values brought to
// shared memory by asynchronous copies, the next chunk's while this one is summed. The last of a
// row's shares to end merges them, in order, so that a step launches one kernel per layer.
#pragma once
#include "kernels/cuda/any/attention.cuh"

namespace stepless::kernels {
namespace {

constexpr int kBuffers = 2, kStagedThreads = 256, kTeams = kStagedThreads / kThreads;

struct StagedShape {
  AttnArgs args;
  int64_t first_row;
  int each;           // query heads to a KV head
  float* partial;     // (rows, heads, kShares): peak, sum, v_dim values
  unsigned* tickets;  // (rows, kv_heads); zero between launches
  int blocks;         // to a row's shares: 1, 2, 4, 8 or 16

  /// Bits of the shares that block `y` takes: y, y + blocks ...
  __device__ unsigned shares_of(unsigned y) const {
    unsigned bits = 1;
    for (int step = blocks; step < kShares; step *= 2) bits |= bits << step;
    return bits << y;
  }
  /// How many blocks take any of these shares.
  __device__ unsigned blocks_with(unsigned shares) const {
    for (int step = kShares / 2; step >= blocks; step /= 2) shares |= shares >> step;
    return __popc(shares & ((1u << blocks) - 1));
  }
};

/// Which chunks a row reads: `count` from `first` on; of them a share takes every kShares-th.
struct Chunks {
  int64_t first, count;
  /// Bits of the shares that read anything.
  __device__ unsigned shares() const {
    if (count >= kShares) return (1u << kShares) - 1;
    const unsigned bits = ((1u << count) - 1) << (first % kShares);
    return (bits | bits >> kShares) & ((1u << kShares) - 1);
  }
};
inline __device__ int64_t least_position(const AttnArgs& a, const SeqRow& seq) {
  return a.window > 0 && seq.position >= a.window ? seq.position - a.window + 1 : 0;
}
inline __device__ Chunks chunks_of(const AttnArgs& a, const SeqRow& seq) {
  const int64_t first = least_position(a, seq) / kChunk;
  return {first, seq.position / kChunk - first + 1};
}

/// a / b of two that are not negative; in 64 bits it takes some hundred instructions.
inline __device__ int64_t quotient(int64_t a, int64_t b) {
  if (((a | b) >> 31) == 0) return static_cast<unsigned>(a) / static_cast<unsigned>(b);
  return a / b;
}

/// Where a chunk's positions lie among those of all pages; -1: not read. find_places() for plain
/// pages.
inline __device__ void find_plain(const AttnArgs& a, const SeqRow& seq, int64_t chunk,
                                  int64_t* place) {
  if (threadIdx.x >= kChunk) return;
  const int64_t at = chunk * kChunk + threadIdx.x;
  const bool left_out = seq.kept > 0 && at >= seq.kept && at < seq.resume;
  place[threadIdx.x] = -1;
  if (at < least_position(a, seq) || at > seq.position || left_out) return;
  const int64_t page = quotient(at, a.cache.page_tokens);
  place[threadIdx.x] =
      (read_early(&seq.pages[page]) * a.cache.kv_heads + blockIdx.x) * a.cache.page_tokens +
      (at - page * a.cache.page_tokens);
}

inline __device__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
__device__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}
inline __device__ void copy16(uint32_t to, const void* from, bool there) {
  const int bytes = there ? 16 : 0;  // the rest becomes zeros
  asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}

/// Starts the copies of a chunk's positions, `dim` elements of 2 bytes each, one after another:
/// eight lanes to a position.
inline __device__ void copy_chunk(const uint8_t* from, const int64_t* place, int dim,
                                  const uint8_t* to) {
  const int lane = threadIdx.x % 8, pieces = dim / 8;
  for (int j = threadIdx.x / 8; j < kChunk; j += kStagedThreads / 8) {
    const int64_t p = place[j];
    const uint8_t* const row = from + (p < 0 ? 0 : p) * dim * 2;
    const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(to)) + j * dim * 2;
    for (int i = lane; i < pieces; i += 8) copy16(at + i * 16, row + i * 16, p >= 0);
  }
}

/// The queries that a lane multiplies, in registers where there is room: read from shared memory
/// for every chunk they take longer than all else.
template <int kMost, int kNow>
struct LaneQueries {
  static constexpr int kSteps = kMost == 1 && kNow <= 4 ? kThreads / 64 : 0;  // of 64 elements
  float kept[kSteps > 0 ? kSteps : 1][kNow][8];

  __device__ void load(const float* q, int padded) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step)
#pragma unroll
      for (int h = 0; h < kNow; ++h)
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          const int i = step * 64 + threadIdx.x % 8 * 8 + e;
          kept[step][h][e] = i < padded ? q[h * padded + i] : 0.0f;
        }
  }
};

/// sums += k · q of eight elements.
template <int kNow>
__device__ void add_eight(const float (&k)[8], const float (&q)[kNow][8], float (&sums)[kNow]) {
#pragma unroll
  for (int h = 0; h < kNow; ++h)
#pragma unroll
    for (int e = 0; e < 8; ++e) sums[h] = fmaf(k[e], q[h][e], sums[h]);
}

/// score[h][j], as make_scores() has it; heads that are not there have queries of zeros.
template <DType type, int kMost, int kNow>
__device__ void staged_scores(const AttnArgs& a, const int64_t* place, const uint8_t* keys,
                              const float* q, const LaneQueries<kMost, kNow>& own,
                              float (*score)[kChunk]) {
  constexpr int kSteps = LaneQueries<kMost, kNow>::kSteps;
  const int lane = threadIdx.x % 8, dim = static_cast<int>(a.cache.k_dim);
  const int padded = (dim + 63) / 64 * 64;
#pragma unroll 2
  for (int j = threadIdx.x / 8; j < kChunk; j += kStagedThreads / 8) {
    float sums[kNow] = {}, k[8];
    const uint8_t* const from = keys + (j * dim + lane * 8) * 2;
#pragma unroll
    for (int step = 0; step < kSteps; ++step)
      if (step * 64 + lane * 8 < dim) {
        eight_wide<type>(from + step * 128, k);
        add_eight(k, own.kept[step], sums);
      }
    if (kSteps == 0)
      for (int i = lane * 8; i < dim; i += 64) {
        float there[kNow][8];
#pragma unroll
        for (int h = 0; h < kNow; ++h)
#pragma unroll
          for (int e = 0; e < 8; e += 4)
            *reinterpret_cast<float4*>(&there[h][e]) =
                *reinterpret_cast<const float4*>(q + h * padded + i + e);
        eight_wide<type>(keys + (j * dim + i) * 2, k);
        add_eight(k, there, sums);
      }
#pragma unroll
    for (int h = 0; h < kNow; ++h) {
      float sum = sums[h];
      for (int other = 4; other > 0; other /= 2) sum += __shfl_xor_sync(~0u, sum, other);
      sum *= a.scale;
      if (a.softcap != 0.0f) sum = tanhf(sum / a.softcap) * a.softcap;
      if (lane == 0) score[h][j] = place[j] >= 0 ? sum : -INFINITY;
    }
  }
}

/// acc += weight * v over the team's half of the chunk, for this thread's columns. What is not read
/// weighs 0 and was staged as 0.
template <DType type, int kMost, int kNow>
__device__ void staged_values(const uint8_t* values, int dim, const float (*weight)[kChunk],
                              const float* shrink, float (&acc)[kMost][kNow]) {
  constexpr int kOwn = kChunk / kTeams;
  const int team = threadIdx.x / kThreads, first = threadIdx.x % kThreads;
#pragma unroll
  for (int c = 0; c < kMost; ++c)
#pragma unroll
    for (int h = 0; h < kNow; ++h) acc[c][h] *= shrink[h];
#pragma unroll 2
  for (int j = team * kOwn; j < (team + 1) * kOwn; j += 4) {
    float4 w[kNow];
#pragma unroll
    for (int h = 0; h < kNow; ++h) w[h] = *reinterpret_cast<const float4*>(&weight[h][j]);
#pragma unroll
    for (int c = 0; c < kMost; ++c) {
      const int column = first + c * kThreads;
      if (column >= dim) break;
      float v[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) v[i] = load(values, type, (j + i) * dim + column);
#pragma unroll
      for (int h = 0; h < kNow; ++h) {
        acc[c][h] = fmaf(w[h].x, v[0], acc[c][h]), acc[c][h] = fmaf(w[h].y, v[1], acc[c][h]);
        acc[c][h] = fmaf(w[h].z, v[2], acc[c][h]), acc[c][h] = fmaf(w[h].w, v[3], acc[c][h]);
      }
    }
  }
}

/// y of a row and up to kHeads heads from the shares that read anything, in order, and the sink; as
/// merge_shares() does. `weight` is shared: what a share's sums are to be multiplied with.
inline __device__ void merge_staged(const StagedShape& shape, int row, int head, int heads,
                                    unsigned shares, float (*weight)[kShares]) {
  const AttnArgs& a = shape.args;
  const int v_dim = static_cast<int>(a.cache.v_dim), width = v_dim + 2;
  const float* const from = shape.partial + (row * a.heads + head) * kShares * width;
  __syncthreads();
  // Sixteen lanes to a head, a lane to a share: what all of them need is one load away.
  if (const int h = threadIdx.x / kShares; h < heads) {
    const int share = threadIdx.x % kShares;
    const float* const mine = from + (h * kShares + share) * width;
    const bool reads = (shares >> share & 1u) != 0;
    const float peak = reads ? __ldcg(mine) : -INFINITY, sum = reads ? __ldcg(mine + 1) : 0.0f;
    const float sink = a.sinks == nullptr ? -INFINITY : load(a.sinks, a.sinks_type, head + h);
    const unsigned lanes = 0xffffu << (threadIdx.x % 32 / kShares * kShares);
    float top = peak == peak && sink == sink ? fmaxf(peak, sink) : NAN;
    for (int other = kShares / 2; other > 0; other /= 2) {
      const float theirs = __shfl_xor_sync(lanes, top, other);
      top = top == top && theirs == theirs ? fmaxf(top, theirs) : NAN;
    }
    const float scale = peak == -INFINITY ? 0.0f : expf(peak - top);
    const double own = static_cast<double>(scale) * static_cast<double>(sum);
    double total = a.sinks == nullptr ? 0.0 : static_cast<double>(expf(sink - top));
    for (int s = 0; s < kShares; ++s) total += __shfl_sync(lanes, own, s, kShares);
    weight[h][share] = static_cast<float>(static_cast<double>(scale) / total);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < heads * v_dim; i += kStagedThreads) {
    const int h = i / v_dim;
    const float* const own = from + h * kShares * width + 2 + (i - h * v_dim);
    float sum = 0.0f;
#pragma unroll
    for (int s = 0; s < kShares; ++s)
      sum = fmaf(weight[h][s], (shares >> s & 1u) != 0 ? __ldcg(own + s * width) : 0.0f, sum);
    store(a.y, a.type, (shape.first_row + row) * a.y_stride + head * v_dim + i, sum);
  }
}

/// Whether this block is the last of `count` to come here; what the others wrote is then seen.
inline __device__ bool is_last(unsigned* ticket, unsigned count) {
  __shared__ unsigned before;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    before = atomicAdd(ticket, 1u);
    if (before + 1 == count) *ticket = 0;  // for the next launch
    __threadfence();
  }
  __syncthreads();
  return before + 1 == count;
}

/// Walks over the chunks that a block reads: share by share, those of a share in order.
struct Walk {
  Chunks chunks;
  unsigned shares;  // bits of the block's own, less those done
  int64_t chunk;

  /// The first chunk at or behind `chunk` of its share that is read at all (a rotating cache leaves
  /// out whole chunks in the middle), or one behind the last.
  __device__ void settle(const SeqRow& seq) {
    while (seq.kept > 0 && chunk * kChunk >= seq.kept && (chunk + 1) * kChunk <= seq.resume)
      chunk += kShares;
  }
  __device__ int share() const { return __ffs(static_cast<int>(shares)) - 1; }
  __device__ bool is_done() const { return shares == 0; }
  __device__ bool reads() const { return chunk < chunks.first + chunks.count; }
  __device__ void begin_share(const SeqRow& seq) {
    chunk = chunks.first + (share() - chunks.first % kShares + kShares) % kShares;
    settle(seq);
  }
  /// On to the next chunk, of the next share when this one has no more.
  __device__ void advance(const SeqRow& seq) {
    if (reads()) {
      chunk += kShares;
      settle(seq);
      if (reads()) return;
    }
    shares &= shares - 1;
    if (!is_done()) begin_share(seq);
  }
};

/// What a block keeps beside its queries and chunks.
template <int kNow>
struct StagedRoom {
  __align__(16) float score[kNow][kChunk];
  float peak[kNow], total[kNow], shrink[kNow], weight[kHeads][kShares];
  int64_t place[kBuffers][kChunk];
};

/// The teams' sums of a share, added up, with what the merge needs. `meeting` is the block's alone.
template <int kMost, int kNow>
__device__ void store_share(const StagedShape& shape, const StagedRoom<kNow>& room, float* meeting,
                            float* to, int heads, const float (&acc)[kMost][kNow]) {
  const int v_dim = static_cast<int>(shape.args.cache.v_dim), width = v_dim + 2;
  const int team = threadIdx.x / kThreads, first = threadIdx.x % kThreads;
  if (team == 1) {
#pragma unroll
    for (int c = 0; c < kMost; ++c)
#pragma unroll
      for (int h = 0; h < kNow; ++h) meeting[(c * kNow + h) * kThreads + first] = acc[c][h];
  }
  __syncthreads();
  if (team == 0) {
#pragma unroll
    for (int h = 0; h < kNow; ++h) {
      if (h >= heads) break;
      float* const out = to + static_cast<int64_t>(h) * kShares * width;
      if (threadIdx.x == 0) out[0] = room.peak[h], out[1] = room.total[h];
#pragma unroll
      for (int c = 0; c < kMost; ++c)
        if (const int column = first + c * kThreads; column < v_dim)
          out[2 + column] = acc[c][h] + meeting[(c * kNow + h) * kThreads + first];
    }
  }
  __syncthreads();
}

template <int kMost, int kNow>
__device__ void begin_sums(StagedRoom<kNow>& room, float (&acc)[kMost][kNow]) {
  if (threadIdx.x < kNow) room.peak[threadIdx.x] = -INFINITY, room.total[threadIdx.x] = 0.0f;
#pragma unroll
  for (int c = 0; c < kMost; ++c)
#pragma unroll
    for (int h = 0; h < kNow; ++h) acc[c][h] = 0.0f;
}

/// Blocks: (KV heads, at most kShares, rows); block y takes every gridDim.y-th share. kNow: heads
/// at a time.
template <DType type, int kMost, int kNow>
__global__ void __launch_bounds__(kStagedThreads) attend_staged(StagedShape shape) {
  // Queries; where teams meet; kBuffers times keys and values of a chunk.
  extern __shared__ __align__(16) uint8_t dynamic[];
  __shared__ StagedRoom<kNow> room;
  const AttnArgs& a = shape.args;
  const int row = blockIdx.z, kv_head = blockIdx.x;
  const int k_dim = static_cast<int>(a.cache.k_dim), v_dim = static_cast<int>(a.cache.v_dim);
  const int padded = (k_dim + 63) / 64 * 64, k_bytes = kChunk * k_dim * 2;
  const int buffer_bytes = k_bytes + kChunk * v_dim * 2;
  let_next_start();
  // The rows of a step are inputs of the whole step: no kernel of it writes them.
  const SeqRow seq = read_early(&a.seq[shape.first_row + row]);
  const Chunks chunks = chunks_of(a, seq);
  const unsigned shares = chunks.shares(), own = shares & shape.shares_of(blockIdx.y);
  if (own == 0) return;
  float* const q = reinterpret_cast<float*>(dynamic);
  float* const meeting = q + kNow * padded;
  uint8_t* const buffers = reinterpret_cast<uint8_t*>(meeting + kMost * kNow * kThreads);
  const auto copy = [&](int buffer) {
    const uint8_t* const to = buffers + buffer * buffer_bytes;
    copy_chunk(a.cache.k, room.place[buffer], k_dim, to);
    copy_chunk(a.cache.v, room.place[buffer], v_dim, to + k_bytes);
  };
  for (int begin = 0; begin < shape.each; begin += kNow) {
    const int heads = min(shape.each - begin, kNow), head = kv_head * shape.each + begin;
    Walk at{chunks, own, 0};
    at.begin_share(seq);
    __syncthreads();
    if (at.reads()) find_plain(a, seq, at.chunk, room.place[0]);
    __syncthreads();
    wait_for_inputs();
    if (at.reads()) copy(0);
    commit_copies();
    const int64_t from = (shape.first_row + row) * a.q_stride + head * k_dim;
    for (int h = 0; h < kNow; ++h)
      for (int i = threadIdx.x; i < padded; i += kStagedThreads)
        q[h * padded + i] = h < heads && i < k_dim ? load(a.q, a.type, from + h * k_dim + i) : 0.0f;
    float acc[kMost][kNow];
    begin_sums(room, acc);
    __syncthreads();
    LaneQueries<kMost, kNow> queries;
    queries.load(q, padded);
    for (int buffer = 0; !at.is_done(); buffer ^= 1) {
      Walk next = at;
      next.advance(seq);
      const bool is_more = !next.is_done() && next.reads();
      if (is_more) find_plain(a, seq, next.chunk, room.place[buffer ^ 1]);
      __syncthreads();
      if (is_more) copy(buffer ^ 1);
      commit_copies();
      wait_copies<1>();
      __syncthreads();
      if (at.reads()) {
        const uint8_t* const keys = buffers + buffer * buffer_bytes;
        staged_scores<type>(a, room.place[buffer], keys, q, queries, room.score);
        __syncthreads();
        soften<kStagedThreads>(kNow, room.score, room.peak, room.total, room.shrink);
        __syncthreads();
        staged_values<type, kMost, kNow>(keys + k_bytes, v_dim, room.score, room.shrink, acc);
      }
      if (next.shares != at.shares) {
        float* const to =
            shape.partial + ((row * a.heads + head) * kShares + at.share()) * (v_dim + 2);
        store_share(shape, room, meeting, to, heads, acc);
        begin_sums(room, acc);
      }
      at = next;
    }
  }
  const unsigned blocks = shape.blocks_with(shares);
  if (blocks > 1 && !is_last(shape.tickets + row * a.cache.kv_heads + kv_head, blocks)) return;
  for (int begin = 0; begin < shape.each; begin += kHeads)
    merge_staged(shape, row, kv_head * shape.each + begin, min(shape.each - begin, kHeads), shares,
                 room.weight);
}

inline int heads_at_once(int64_t each) { return each == 1 ? 1 : each <= 4 ? 4 : kHeads; }

/// Bytes of shared memory that a block of attend_staged() takes beside its room.
inline int64_t staged_bytes(const AttnArgs& a) {
  const int64_t now = heads_at_once(a.heads / a.cache.kv_heads);
  const int64_t columns = 2 * kThreads;
  return now * ((a.cache.k_dim + 63) / 64 * 64) * 4 + now * columns * 4 +
         kBuffers * kChunk * (a.cache.k_dim + a.cache.v_dim) * 2;
}
/// What a block may have on every GPU since sm_80, less the room.
constexpr int64_t kMostStagedBytes = 90 << 10;

inline bool can_stage(const AttnArgs& a) {
  return a.cache.type != DType::f32 && a.cache.k_dim % 8 == 0 && a.cache.v_dim % 8 == 0 &&
         a.cache.v_dim <= 2 * kThreads && staged_bytes(a) <= kMostStagedBytes &&
         a.cache.kv_heads <= 65535 && kRowsAtOnce * a.cache.kv_heads * 4 <= kTicketBytes;
}

template <DType type, int kMost>
auto staged_kernel(int64_t each) {
  const int now = heads_at_once(each);
  return now == 1   ? attend_staged<type, kMost, 1>
         : now == 4 ? attend_staged<type, kMost, 4>
                    : attend_staged<type, kMost, kHeads>;
}

/// Blocks for the shares of a row: one to a multiprocessor in all, if there are so many shares.
inline int blocks_of_row(const AttnArgs& a, int64_t rows, const CudaContext& context) {
  int blocks = 1;
  while (blocks < kShares && blocks * rows * a.cache.kv_heads < context.multiprocessors)
    blocks *= 2;
  return blocks;
}

template <DType type>
cudaError_t launch_staged(StagedShape shape, int64_t rows, const CudaContext& context) {
  const AttnArgs& a = shape.args;
  const auto kernel = a.cache.v_dim <= kThreads && a.cache.k_dim <= kThreads
                          ? staged_kernel<type, 1>(shape.each)
                          : staged_kernel<type, 2>(shape.each);
  const auto shared = static_cast<std::size_t>(staged_bytes(a));
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  if (error != cudaSuccess) return error;
  shape.blocks = blocks_of_row(a, rows, context);
  const dim3 blocks(static_cast<unsigned>(a.cache.kv_heads), static_cast<unsigned>(shape.blocks),
                    static_cast<unsigned>(rows));
  return launch_grid(kernel, {blocks, kStagedThreads, shared}, context, shape);
}

}  // namespace
}  // namespace stepless::kernels
