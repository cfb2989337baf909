// What attention by teams (attention_team.cuh) is made of: how a member lays out its shared memory,
// the sums of a share, and how shares become rows of y. Columns of y go to members by lots: a head
// has eight, two of each warp, which are what two neighbouring lanes hold.
#pragma once
#include "kernels/cuda/any/team.cuh"
#include "kernels/cuda/sm80/attention_merge.cuh"

namespace stepless::kernels::sm80 {

constexpr int kTeamHeads = 16, kMostTeam = 16, kLotsOfHead = 8;

/// What the host tells the members of a launch.
struct TeamPlan {
  int heads;              // of a tile
  int members;            // of a block: 1 or 2
  int sums, values, end;  // bytes: peaks and totals (share, head), values (share, own lots)
  // For each number of members that have a share: lots of each, and what divides by them.
  int lots[kMostTeam + 1];
  uint32_t per_lots[kMostTeam + 1];
};

/// Shared memory of a member, in bytes; pitches in elements. In front there is the barrier of what
/// is sent. Of queries and weights only rows that are there have room.
template <int kDim>
struct TeamShared {
  static constexpr int kPitch = kDim + kPad, kWeightPitch = kChunk + kPad;
  static constexpr int kStarts = 16, kMeet = kStarts + kTeamHeads * 8;
  static constexpr int kK = kMeet + 2 * 16 * kAttnWarps * 4, kV = kK + kChunk * kPitch * 2;
  static constexpr int kQ = kV + kChunk * kPitch * 2;
  static __host__ __device__ constexpr int weights(int heads) { return kQ + heads * kPitch * 2; }
  static __host__ __device__ constexpr int end(int heads) {
    return weights(heads) + 2 * heads * kWeightPitch * 2;
  }
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// A member's place in its block, and its own threads.
static __device__ __forceinline__ int member_of_block() { return threadIdx.x / kAttnThreads; }
static __device__ __forceinline__ int member_thread() { return threadIdx.x % kAttnThreads; }
static __device__ __forceinline__ int member_warp() { return threadIdx.x % kAttnThreads / 32; }
static __device__ __forceinline__ void meet_member() {
  asm volatile("bar.sync %0,%1;" ::"r"(member_of_block() + 1), "n"(kAttnThreads) : "memory");
}

/// Two numbers whose bytes a barrier beside them waits for.
static __device__ __forceinline__ void send_two(uint32_t to, uint32_t barrier, float a, float b) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 "
      "[%0],{%1,%2},[%3];" ::"r"(to),
      "f"(a), "f"(b), "r"(barrier)
      : "memory");
}
/// A barrier that waits for `bytes`.
static __device__ __forceinline__ void expect_sent(uint32_t barrier, int bytes) {
  asm volatile(
      "mbarrier.init.shared::cta.b64 [%0],1;\n"
      "fence.mbarrier_init.release.cluster;\n"
      "mbarrier.arrive.expect_tx.shared::cta.b64 _,[%0],%1;" ::"r"(barrier),
      "r"(bytes)
      : "memory");
}
static __device__ __forceinline__ void wait_for_sent(uint32_t barrier) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "AGAIN_%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done,[%0],0;\n"
      "@!done bra AGAIN_%=;\n}" ::"r"(barrier)
      : "memory");
}
static __device__ __forceinline__ void store_shared4(uint32_t to, uint32_t word) {
  asm volatile("st.shared.u32 [%0],%1;" ::"r"(to), "r"(word) : "memory");
}

/// Peaks of positions, and sums of their weights, by row and warp.
using TeamMeeting = float[2][16][kAttnWarps];

/// Sums of a share, as AttnTile has them, of up to 16 heads of one row.
template <DType type, int kDim>
struct TeamSums {
  using At = TeamShared<kDim>;
  static constexpr int kCols = kDim / 32;  // of 8 columns, a warp's
  const int heads;
  const uint32_t base;  // of the member's shared memory
  TeamMeeting& meet;
  float acc[kCols][4], peak[2], total[2], shrink[2];

  static __device__ int lane() { return threadIdx.x % 32; }
  static __device__ int warp() { return member_warp(); }
  /// A row of queries or weights. Of those that are not there the first is taken: what becomes of
  /// them nobody reads.
  __device__ int row() const { return lane() % 16 < heads ? lane() % 16 : 0; }
  /// Whether there are rows in half h of a product's result.
  __device__ bool has_half(int h) const { return h == 0 || heads > 8; }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int h = 0; h < 2; ++h) peak[h] = -INFINITY, total[h] = 0.0f;
#pragma unroll
    for (int c = 0; c < kCols; ++c)
#pragma unroll
      for (int i = 0; i < 4; ++i) acc[c][i] = 0.0f;
  }

  /// Of this warp's 16 positions, scaled.
  __device__ __forceinline__ void make_scores(float (&s)[2][4], float scale) const {
    const int l = lane();
    const uint32_t k_at =
        base + At::kK + ((16 * warp() + l / 16 * 8 + l % 8) * At::kPitch + l / 8 % 2 * 8) * 2;
    const uint32_t q_at = base + At::kQ + (row() * At::kPitch + l / 16 * 8) * 2;
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      uint32_t b[4], q[4];
      load_matrices(b, k_at + step * 32);
      load_matrices(q, q_at + step * 32);
      mma16<type>(s[0], q, b[0], b[1]);
      mma16<type>(s[1], q, b[2], b[3]);
    }
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[n][i] *= scale;
  }
  __device__ __forceinline__ void show_peaks(const float (&s)[2][4]) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!has_half(h)) break;
      float top = max_or_nan(max_or_nan(s[0][2 * h], s[0][2 * h + 1]),
                             max_or_nan(s[1][2 * h], s[1][2 * h + 1]));
      top = max_or_nan(top, __shfl_xor_sync(~0u, top, 1));
      top = max_or_nan(top, __shfl_xor_sync(~0u, top, 2));
      if (lane() % 4 == 0) meet[0][lane() / 4 + 8 * h][warp()] = top;
    }
  }
  /// When all peaks are there. AttnTile::store_weights() tells why weights are two numbers.
  __device__ __forceinline__ void store_weights(const float (&s)[2][4]) {
    const uint32_t to = base + At::weights(heads) + (16 * warp() + lane() % 4 * 2) * 2;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!has_half(h)) break;
      const int r = lane() / 4 + 8 * h;
      const float4 tops = *reinterpret_cast<const float4*>(meet[0][r]);
      const float now =
          max_or_nan(max_or_nan(max_or_nan(max_or_nan(peak[h], tops.x), tops.y), tops.z), tops.w);
      // All may be -infinity, in a chunk that the row does not read: then nothing weighs.
      const float over = now == -INFINITY ? 0.0f : now;
      shrink[h] = power_of_2(peak[h] - over), peak[h] = now;
      float sum = 0.0f;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const float a0 = power_of_2(s[n][2 * h] - over), a1 = power_of_2(s[n][2 * h + 1] - over);
        const uint32_t high = narrowed<type>(a0, a1);
        const float2 near = widened<type>(high);
        const uint32_t low = narrowed<type>(a0 - near.x, a1 - near.y);
        sum += a0, sum += a1;
        if (r >= heads) continue;
        store_shared4(to + (r * At::kWeightPitch + 8 * n) * 2, high);
        store_shared4(to + ((heads + r) * At::kWeightPitch + 8 * n) * 2, low);
      }
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      if (lane() % 4 == 0) meet[1][r][warp()] = sum;
    }
  }
  /// When all weights and values are there.
  __device__ __forceinline__ void add_values() {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!has_half(h)) break;
      const float4 sums = *reinterpret_cast<const float4*>(meet[1][lane() / 4 + 8 * h]);
      total[h] = fmaf(total[h], shrink[h], (sums.x + sums.y) + (sums.z + sums.w));
#pragma unroll
      for (int c = 0; c < kCols; ++c) acc[c][2 * h] *= shrink[h], acc[c][2 * h + 1] *= shrink[h];
    }
    const int l = lane();
    const uint32_t v_at = base + At::kV + (l % 16 * At::kPitch + (warp() * kCols + l / 16) * 8) * 2;
    const uint32_t w_at = base + At::weights(heads) + (row() * At::kWeightPitch + l / 16 * 8) * 2;
#pragma unroll
    for (int step = 0; step < kChunk / 16; ++step) {
      uint32_t v[kCols / 2][4];
#pragma unroll
      for (int c = 0; c < kCols / 2; ++c)
        load_transposed(v[c], v_at + (step * 16 * At::kPitch + c * 16) * 2);
#pragma unroll
      for (int low = 0; low < 2; ++low) {
        uint32_t w[4];
        load_matrices(w, w_at + (low * heads * At::kWeightPitch + step * 16) * 2);
#pragma unroll
        for (int c = 0; c < kCols; ++c)
          mma16<type>(acc[c], w, v[c / 2][c % 2 * 2], v[c / 2][c % 2 * 2 + 1]);
      }
    }
  }
};

/// How the sums of a tile's shares, `active` members', become rows of y.
template <int kCols>
struct TeamMerge {
  static constexpr int kLotBytes = kCols * 16;
  const TeamPlan& plan;
  const uint32_t base;
  const int rank, shares, active;
  const int lots = plan.lots[active];
  const int own = min(lots, plan.heads* kLotsOfHead - rank * lots);  // 0 or less: none
  // In others' memory: where the lower half of this lane's columns, and of a row's sums, go.
  uint32_t owner, columns_to, sums_owner, sums_to;

  static __device__ int lot_of(int head) {
    const int lane = threadIdx.x % 32;
    return head * kLotsOfHead + member_warp() * 2 + lane % 4 / 2;
  }
  /// A member's shared memory.
  __device__ uint32_t of_member(int other) const {
    if (plan.members == 1) return of_block(base, other);
    return of_block(base + ((other & 1) - (rank & 1)) * plan.end, other >> 1);
  }
  __device__ int owner_of(int lot) const {
    return static_cast<int>(lot * plan.per_lots[active] >> 22);
  }
  /// Bytes that a member is sent.
  __device__ int bytes() const {
    return own <= 0 ? 0 : shares * (own * kLotBytes + plan.heads * 8);
  }

  __device__ __forceinline__ void find_owners() {
    const int lane = threadIdx.x % 32, lot = lot_of(lane / 4), at = owner_of(lot);
    owner = of_member(at);
    columns_to = owner + plan.values + (lot - at * lots) * kLotBytes + lane % 2 * 8;
    const int told = member_warp() * 4 + lane % 4;
    sums_owner = told * lots < plan.heads * kLotsOfHead ? of_member(told) : 0;
    sums_to = sums_owner + plan.sums + lane / 4 * 8;
  }
  /// The sums of a share to those who make rows of them.
  template <DType type, int kDim>
  __device__ __forceinline__ void send(const TeamSums<type, kDim>& sums, int share) const {
    const int head = static_cast<int>(threadIdx.x) % 32 / 4;
    if (head < plan.heads) {
      if (sums_owner != 0)
        send_two(sums_to + share * plan.heads * 8, sums_owner, sums.peak[0], sums.total[0]);
      const uint32_t to = columns_to + share * lots * kLotBytes;
#pragma unroll
      for (int c = 0; c < kCols; ++c) send_two(to + c * 16, owner, sums.acc[c][0], sums.acc[c][1]);
    }
    if (head + 8 >= plan.heads) return;
    if (sums_owner != 0)
      send_two(sums_to + (share * plan.heads + 8) * 8, sums_owner, sums.peak[1], sums.total[1]);
    const int lot = lot_of(head + 8), at = owner_of(lot);
    const uint32_t other = of_member(at);
    const uint32_t to =
        other + plan.values + (share * lots + lot - at * lots) * kLotBytes + threadIdx.x % 2 * 8;
#pragma unroll
    for (int c = 0; c < kCols; ++c) send_two(to + c * 16, other, sums.acc[c][2], sums.acc[c][3]);
  }

  /// Shares `from`, from + 1 ... 0 ... from - 1 of four columns, the member's i-th; merge_units()
  /// and fold() do it alike.
  __device__ __forceinline__ float4 row_of(const uint8_t* shared, float2 start, int head, int i,
                                           int from) const {
    float now = start.x, total = start.y;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    int share = from;
#pragma unroll 4
    for (int n = 0; n < shares; ++n) {
      const auto* const sums = reinterpret_cast<const float2*>(shared + plan.sums);
      const auto* const values = reinterpret_cast<const float4*>(shared + plan.values);
      const float2 theirs = sums[share * plan.heads + head];
      const float4 v = values[share * lots * kCols + i];
      if (++share == shares) share = 0;
      // No branch: what is read and weighed for several shares overlaps.
      const bool is = theirs.x != -INFINITY;
      const float next = max_or_nan(now, theirs.x);
      const Shrink shrink = Shrink::of(now, next, theirs.x);
      const float4 with = shrink.sum(sum, v);
      total = is ? shrink.sum(total, theirs.y) : total;
      sum.x = is ? with.x : sum.x, sum.y = is ? with.y : sum.y;
      sum.z = is ? with.z : sum.z, sum.w = is ? with.w : sum.w;
      now = next;
    }
    const float per = 1.0f / total;
    return make_float4(sum.x * per, sum.y * per, sum.z * per, sum.w * per);
  }
  /// y of the row's heads from `y` on, of this member's columns, when all has been sent.
  template <DType type>
  __device__ __forceinline__ void store(const uint8_t* shared, const float2* starts, int from,
                                        uint16_t* y) const {
    if (own <= 0) return;
    wait_for_sent(base);
#pragma unroll 1
    for (int i = member_thread(); i < own * kCols; i += kAttnThreads) {
      const int lot = rank * lots + i / kCols, head = lot / kLotsOfHead, part = lot % kLotsOfHead;
      const float4 v = row_of(shared, starts[head], head, i, from);
      const int column = ((part / 2 * kCols + i % kCols) * 2 + part % 2) * 4;
      *reinterpret_cast<uint2*>(y + head * (32 * kCols) + column) =
          make_uint2(narrowed<type>(v.x, v.y), narrowed<type>(v.z, v.w));
    }
  }
};
#endif

}  // namespace stepless::kernels::sm80
