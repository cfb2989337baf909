// Attention of decode rows from sm_90 on, behind rotary embeddings (attention_turned.cuh), with the
// bits of attend_few. A tile is the heads of one row that share a KV head; its members, four warps
// each, are the blocks of a cluster, and shares meet in shared memory. In a step this runs cold
// between other kernels: its code is a third of attend_few's, with one way through it.
//
// A layer of 3 billion weights on an H200, 1 / 8 / 32 rows: at position 256 34.1 / 42.4 / 71.7 us,
// by attend_few 39.6 / 50.0 / 75.8; at 960 34.6 / 49.5 / 94.2, by attend_few 40.0 / 57.5 / 102.5.
// Tried and lost there: a rehearsal of the first chunk while inputs are awaited (0 where blocks
// come early, +3 to +4 us where they come late), later chunks called into the second-level cache
// (61 instead of 57 us at 8 rows of 960, 110 instead of 95 at 32).
#pragma once
#include "kernels/cuda/sm80/attention_team_parts.cuh"
#include "kernels/cuda/sm80/attention_turned.cuh"

namespace stepless::kernels::sm80 {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// rows_before(), which is seldom asked.
static __device__ __noinline__ int drafts_before(const AttnSlab& slab, int r, const int32_t* pages,
                                                 int position) {
  return rows_before(slab, r, pages, position);
}

/// A block of a team: which positions it reads, and how they come to its shared memory.
template <DType type, int kDim>
struct TeamMember {
  using At = TeamShared<kDim>;
  static constexpr int kPairs = kDim / 2;

  const AttnSlab& slab;
  const TurnedRows& rows;
  const int heads;          // of the tile
  const uint32_t base;      // of the shared memory
  const int members, rank;  // of the team; this one's place in it
  const int row = blockIdx.y, kv_head = blockIdx.x;
  const int32_t* pages;
  int first, last, hole, hole_end;  // reads positions first .. last, but hole .. hole_end - 1
  FreshRows own;
  int begin, shares, active;  // members that have a share

  static __device__ int group() { return member_thread() / kLanesOfRow; }
  static __device__ int column() { return threadIdx.x % kLanesOfRow * 8; }

  __device__ __forceinline__ void find() {
    const SeqRow* const seq = slab.args.seq + row;
    const RowPlace place = RowPlace::of(*seq);
    const int32_t* const before = row > 0 ? read_early(&seq[-1].pages) : nullptr;
    const Reads reads = place.reads(slab.args);
    pages = place.pages, first = reads.first, last = reads.last, own = {row, place.position};
    hole = hole_end = 0;
    if (reads.kept > 0) hole = reads.kept, hole_end = max(hole, reads.resume);
    if (before == pages) {
      const int count = drafts_before(slab, row, pages, place.position);
      own.first_row -= count, own.first_position -= count;
    }
    begin = first & ~(kChunk - 1);
    shares = min((last - begin) / kChunk + 1, kShares);
    active = min(shares, members);
  }
  __device__ bool has(int at) const {
    return at >= first && at <= last &&
           static_cast<unsigned>(at - hole) >= static_cast<unsigned>(hole_end - hole);
  }
  /// By its number among all shares.
  __device__ int number(int share) const { return (begin / kChunk + share) % kShares; }
  /// The first chunk that is read, from `chunk` of a share on; -1: none.
  __device__ int settle(int chunk) const {
#pragma unroll 1
    while (chunk >= hole && chunk + kChunk <= hole_end) chunk += kShares * kChunk;
    return chunk <= last ? chunk : -1;
  }

  /// On to the block's next chunk, which may be of a later share; -1: there is none.
  __device__ void advance(int& chunk, int& share) const {
    chunk = settle(chunk < 0 ? begin + share * kChunk : chunk + kShares * kChunk);
#pragma unroll 1
    while (chunk < 0 && (share += active) < shares) chunk = settle(begin + share * kChunk);
  }

  __device__ const int32_t* page_at(int chunk) const {
    return pages + PagePlace::of(slab, chunk).page;
  }
  /// Where the chunk's keys and values of this KV head begin, in elements.
  __device__ int64_t place_of(int chunk, int32_t page) const {
    const int tokens = static_cast<int>(slab.args.cache.page_tokens);
    const int kv_heads = static_cast<int>(slab.args.cache.kv_heads);
    const int slot = PagePlace::of(slab, chunk).slot;
    return (int64_t{page} * (kv_heads * tokens) + (kv_head * tokens + slot)) * kDim;
  }
  __device__ int64_t place_of(int chunk) const {
    return place_of(chunk, read_early(page_at(chunk)));
  }

  static constexpr int kOwn = kChunk / kRowsAtOnce;  // positions of a chunk that a thread copies
  /// Bits of the thread's positions of a chunk that are read: all, or those from `from` on.
  __device__ unsigned read_of(int chunk, int from = 0) const {
    unsigned bits = 0;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const int at = chunk + i * kRowsAtOnce + group();
      bits |= at >= from && has(at) ? 1u << i : 0;
    }
    return bits;
  }
  /// Keys or values of the positions `todo`; zeros where none is read.
  __device__ __forceinline__ void copy(const uint8_t* cache, int64_t place, int to, unsigned todo,
                                       unsigned is) const {
    const uint16_t* from =
        reinterpret_cast<const uint16_t*>(cache) + place + group() * kDim + column();
    const uint32_t at = base + to + (group() * At::kPitch + column()) * 2;
#pragma unroll
    for (int i = 0; i < kOwn; ++i)
      if ((todo >> i & 1) != 0)
#pragma unroll
        for (int e = 0; e < kDim; e += 64)
          copy_or_zero16(at + (i * kRowsAtOnce * At::kPitch + e) * 2,
                         from + i * kRowsAtOnce * kDim + e, (is >> i & 1) != 0);
  }
  /// What earlier steps wrote of the first chunk.
  __device__ __forceinline__ void fetch_early(int chunk) const {
    const int64_t place = place_of(chunk);
    const unsigned is = read_of(chunk), todo = ~read_of(chunk, own.first_position);
    copy(slab.args.cache.k, place, At::kK, todo, is);
    copy(slab.args.cache.v, place, At::kV, todo, is);
    commit_copies();
    commit_copies();
  }

  /// Queries and this block's part of the step's own keys and values: turned, to shared memory and
  /// to their pages. Eight lanes to a head.
  __device__ __forceinline__ void turn(int first_chunk) const {
    const int jobs = heads + last - own.first_position + 1;
    bool waits = true;
#pragma unroll 1
    for (int job = group(); job < jobs || waits; job += kRowsAtOnce) {
      const bool is_key = job >= heads;
      const int position = own.first_position + job - heads, chunk = position & ~(kChunk - 1);
      bool is = job < jobs, is_now = true;
      const RopeArgs& rope = is_key ? rows.k : rows.q;
      const int x_row = is_key ? own.row_of(position) : row;
      const int head = is_key ? kv_head : kv_head * heads + job;
      uint32_t to = base + At::kQ + job * (At::kPitch * 2);
      int64_t place = 0;
      if (is_key && is) {
        is = has(position) && (chunk - begin) / kChunk % kShares % active == rank;
        is_now = chunk == first_chunk;
        to = base + At::kK + (position - chunk) * (At::kPitch * 2);
        if (is) place = place_of(chunk) + (position - chunk) * kDim;
      }
      const uint16_t* const x =
          static_cast<const uint16_t*>(rope.x) + x_row * rope.x_stride + head * kDim + column();
      const float* const cosines = rope.angles + x_row * kDim + column();
      const uint16_t* const value = rows.v + x_row * rows.v_stride + kv_head * kDim + column();
      uint16_t* const k_page = reinterpret_cast<uint16_t*>(slab.args.cache.k) + place + column();
      uint16_t* const v_page = reinterpret_cast<uint16_t*>(slab.args.cache.v) + place + column();
      if (waits) wait_for_inputs();
      waits = false;
      if (!is) continue;
      uint4 v[kDim / 64];
      if (is_key)
#pragma unroll
        for (int e = 0; e < kDim / 64; ++e) v[e] = load_l2_words(value + 64 * e);
      if (column() < kPairs) {
        uint4 a = load_l2_words(x), b = load_l2_words(x + kPairs);
        const float4 c = load_l2(cosines), d = load_l2(cosines + 4);
        const float4 s = load_l2(cosines + kPairs), t = load_l2(cosines + kPairs + 4);
        turn_two<type>(a.x, b.x, make_float2(c.x, c.y), make_float2(s.x, s.y));
        turn_two<type>(a.y, b.y, make_float2(c.z, c.w), make_float2(s.z, s.w));
        turn_two<type>(a.z, b.z, make_float2(d.x, d.y), make_float2(t.x, t.y));
        turn_two<type>(a.w, b.w, make_float2(d.z, d.w), make_float2(t.z, t.w));
        if (is_now) {
          store_shared16(to + column() * 2, a);
          store_shared16(to + (kPairs + column()) * 2, b);
        }
        if (is_key) {
          *reinterpret_cast<uint4*>(k_page) = a;
          *reinterpret_cast<uint4*>(k_page + kPairs) = b;
        }
      }
      if (is_key)
#pragma unroll
        for (int e = 0; e < kDim / 64; ++e) {
          if (is_now) store_shared16(to + (At::kV - At::kK) + (column() + 64 * e) * 2, v[e]);
          *reinterpret_cast<uint4*>(v_page + 64 * e) = v[e];
        }
    }
  }

  /// Adds a chunk that has been fetched; the block's next is being fetched when this returns.
  __device__ __forceinline__ void add(TeamSums<type, kDim>& sums, int chunk, int next,
                                      int32_t next_page) const {
    float s[2][4] = {};
    int64_t ahead = 0;
    unsigned is = 0;
    wait_copies<1>();
    meet_member();
    sums.make_scores(s, slab.scale);
    if (chunk < first || chunk + kChunk - 1 > last || hole_end > 0) hide(s, chunk);
    sums.show_peaks(s);
    meet_member();  // behind it the keys have been read
    if (next >= 0) {
      ahead = place_of(next, next_page), is = read_of(next);
      copy(slab.args.cache.k, ahead, At::kK, ~0u, is);
    }
    commit_copies();
    sums.store_weights(s);
    wait_copies<1>();
    meet_member();
    sums.add_values();
    if (next >= 0) {
      meet_member();
      copy(slab.args.cache.v, ahead, At::kV, ~0u, is);
    }
    commit_copies();
  }
  /// Scores of positions that are not read.
  __device__ __forceinline__ void hide(float (&s)[2][4], int chunk) const {
    const int at = chunk + member_warp() * 16 + threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i)
        if (!has(at + 8 * n + i)) s[n][i] = s[n][i + 2] = -INFINITY;
  }
};

template <DType type, int kDim>
static __device__ __forceinline__ void attend_as_member(const AttnSlab& slab,
                                                        const TurnedRows& rows,
                                                        const TeamPlan& plan, uint8_t* shared) {
  using At = TeamShared<kDim>;
  TeamMember<type, kDim> member{slab,
                                rows,
                                plan.heads,
                                shared_address(shared),
                                static_cast<int>(gridDim.z) * plan.members,
                                static_cast<int>(blockIdx.z) * plan.members + member_of_block()};
  member.find();
  if (member.rank >= member.active) return;
  TeamMerge<kDim / 32> merge{plan, member.base, member.rank, member.shares, member.active};
  if (member_thread() == 0) expect_sent(member.base, merge.bytes());
  __syncwarp();
  tell_team();
  // A page is looked up one chunk ahead of its copies: whoever waits for it would wait 0.5 us.
  int chunk = -1, of_share = member.rank;
  member.advance(chunk, of_share);
  int next = chunk, next_share = of_share;
  if (chunk >= 0) member.fetch_early(chunk), member.advance(next, next_share);
  int32_t next_page = next >= 0 ? read_early(member.page_at(next)) : 0;
  auto* const starts = reinterpret_cast<float2*>(shared + At::kStarts);
  const int head = member.kv_head * plan.heads;
  if (const int i = member_thread(); i < plan.heads) starts[i] = start_of(slab.args, head + i);
  merge.find_owners();
  TeamSums<type, kDim> sums{plan.heads, member.base,
                            *reinterpret_cast<TeamMeeting*>(shared + At::kMeet)};
  sums.clear();
  meet_member();
  wait_for_team();
  member.turn(chunk);  // waits for inputs
#pragma unroll 1
  for (int share = member.rank; share < member.shares; share += member.active) {
#pragma unroll 1
    while (of_share == share) {
      member.add(sums, chunk, next, next_page);
      chunk = next, of_share = next_share;
      if (next < 0) break;
      member.advance(next, next_share);
      if (next >= 0) next_page = read_early(member.page_at(next));
    }
    merge.send(sums, share);
    sums.clear();
  }
  const int turn = kShares - member.number(0);
  merge.template store<type>(
      shared, starts, turn < member.shares ? turn : 0,
      static_cast<uint16_t*>(slab.args.y) + member.row * slab.args.y_stride + head * kDim);
}
#endif

/// Blocks: (KV heads, rows, blocks of a team). With 64 registers (80 would do without any spill)
/// two members lie beside a product's block of 13 warps with 96, which has 4 in a quarter of the
/// multiprocessor.
template <DType type, int kDim>
__global__ void __launch_bounds__(2 * kAttnThreads, 4)
    attend_team(const __grid_constant__ AttnSlab slab, const __grid_constant__ TurnedRows rows,
                const __grid_constant__ TeamPlan plan) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  extern __shared__ uint4 dynamic[];
  let_next_start();
  attend_as_member<type, kDim>(slab, rows, plan,
                               reinterpret_cast<uint8_t*>(dynamic) + member_of_block() * plan.end);
#endif
}

}  // namespace stepless::kernels::sm80
