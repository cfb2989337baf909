// The blocks that sample one row together. A row is cut into kParts parts, whatever the number of
// blocks: each block has one (a cluster, from sm_90 on) or one block has all. Every sum is that of
// the parts in order, so the number of blocks never shows.
#pragma once
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/team.cuh"

namespace stepless::kernels {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / 32, kParts = 8, kValues = 8;

using Word = unsigned long long;
inline __device__ Word word_of(double value) {
  return static_cast<Word>(__double_as_longlong(value));
}
inline __device__ double double_of(Word word) {
  return __longlong_as_double(static_cast<long long>(word));
}

struct Shared {
  Word met[2][kParts][kValues];  // what the parts have found, in every block of the team
  double room[kWarps][kValues];  // of one reduction at a time
  unsigned keys[kWarps], lows[kWarps], places[kWarps];
  double runs[kParts][kWarps];  // weights of a part's runs: draw()
};

/// kTeam blocks: kParts of them or one.
template <int kTeam>
class Team {
 public:
  __device__ Team(Shared& shared, int rank) : shared(shared), rank(rank) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (kTeam > 1) tell_team();
#endif
  }
  /// Once, before anything is told: nobody may write to a block that has not begun.
  __device__ void assemble() const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (kTeam > 1) wait_for_team();
#endif
  }

  /// f(part) for the parts of this block.
  template <class F>
  __device__ void each_part(F f) const {
    for (int part = rank; part < kParts; part += kTeam) f(part);
  }
  /// Tells one block, or every block by this block's first threads, a value of a part.
  __device__ void tell(int member, int part, int at, Word value) const {
    store_to(member, &shared.met[turn_ % 2][part][at], value);
  }
  __device__ void tell(int part, int at, Word value) const {
    if (threadIdx.x < kTeam) tell(static_cast<int>(threadIdx.x), part, at, value);
  }
  /// Ends when all have told. What was told stays until the meeting after next.
  __device__ const Word (*meet())[kValues] {
    if (kTeam == 1)
      __syncthreads();
    else
      meet_team();
    return shared.met[turn_++ % 2];
  }

  Shared& shared;
  const int rank;

 private:
  static __device__ void store_to(int member, Word* to, Word value) {
    if (kTeam == 1) {
      *to = value;
      return;
    }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    const auto own = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile(
        "{ .reg .b32 there; mapa.shared::cluster.u32 there, %0, %1;"
        " st.shared::cluster.b64 [there], %2; }" ::"r"(own),
        "r"(member), "l"(value)
        : "memory");
#endif
  }
  static __device__ void meet_team() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
#endif
  }
  unsigned turn_ = 0;
};

/// The largest over the block, which every thread gets.
inline __device__ unsigned block_most(unsigned value, Shared& shared) {
  value = __reduce_max_sync(~0u, value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared.keys[threadIdx.x / 32] = value;
  __syncthreads();
  return __reduce_max_sync(~0u, shared.keys[threadIdx.x % kWarps]);
}

inline __device__ double warp_sum(double value) {
  for (int other = 16; other > 0; other /= 2) value += __shfl_xor_sync(~0u, value, other);
  return value;
}

/// Sums of eight values over a warp: a lane is left with number lane / 4.
inline __device__ double warp_sums(const double (&values)[kValues]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  double four[4], two[2];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const bool upper = (lane & 16) != 0;
    const double keep = upper ? values[i + 4] : values[i], give = upper ? values[i] : values[i + 4];
    four[i] = keep + __shfl_xor_sync(~0u, give, 16);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const bool upper = (lane & 8) != 0;
    const double keep = upper ? four[i + 2] : four[i], give = upper ? four[i] : four[i + 2];
    two[i] = keep + __shfl_xor_sync(~0u, give, 8);
  }
  const bool upper = (lane & 4) != 0;
  double one = (upper ? two[1] : two[0]) + __shfl_xor_sync(~0u, upper ? two[0] : two[1], 4);
  one += __shfl_xor_sync(~0u, one, 2);
  return one + __shfl_xor_sync(~0u, one, 1);
}

/// Eight sums over the row; add(part, sums) adds what a thread has of a part. Lane n of every warp
/// gets sum n % 8.
template <int kTeam, class F>
__device__ double team_sums(Team<kTeam>& team, F add) {
  Shared& shared = team.shared;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  team.each_part([&](int part) {
    double sums[kValues] = {};
    add(part, sums);
    const double own = warp_sums(sums);
    __syncthreads();
    if (lane % 4 == 0) shared.room[warp][lane / 4] = own;
    __syncthreads();
    if (threadIdx.x >= kValues * kTeam) return;
    const int n = lane % kValues;
    double sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += shared.room[w][n];
    team.tell(static_cast<int>(threadIdx.x) / kValues, part, n, word_of(sum));
  });
  const auto met = team.meet();
  double sum = 0;
  for (int part = 0; part < kParts; ++part) sum += double_of(met[part][lane % kValues]);
  return sum;
}

/// The largest word over the row; most(part) is what a thread has of a part.
template <int kTeam, class F>
__device__ Word team_most(Team<kTeam>& team, F most) {
  Shared& shared = team.shared;
  team.each_part([&](int part) {
    const Word own = most(part);
    const unsigned high = block_most(static_cast<unsigned>(own >> 32), shared);
    const unsigned low = block_most(
        high == static_cast<unsigned>(own >> 32) ? static_cast<unsigned>(own) : 0, shared);
    team.tell(part, 0, static_cast<Word>(high) << 32 | low);
  });
  const auto met = team.meet();
  Word best = 0;
  for (int part = 0; part < kParts; ++part) best = max(best, met[part][0]);
  return best;
}

}  // namespace
}  // namespace stepless::kernels
