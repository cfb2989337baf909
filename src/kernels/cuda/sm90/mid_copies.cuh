// What flat_mid reads: rows of packed weights by copies into a warp's ring, and x of a part, which
// becomes operands in shared memory.
#pragma once
#include "kernels/cuda/sm90/wgmma.cuh"

namespace stepless::kernels::sm90 {

using namespace sm80;

constexpr int kMidTiles = 4;  // of 16 outputs, a warpgroup's
constexpr int kMidChainUnits = kChainK / kUnitK;

/// What is read once in a step is the first to leave the second-level cache, which x, parts and the
/// machine code of the next kernels come from.
static __device__ __forceinline__ uint64_t read_once() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0,1.0;" : "=l"(policy));
  return policy;
}
static __device__ __forceinline__ void copy_once(uint32_t to, const void* from, uint64_t policy) {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0],[%1],16,%2;" ::"r"(to),
               "l"(from), "l"(policy)
               : "memory");
}

/// The rows that a warp reads of its 16: two runs of 8, which are a gate's and an up's or one
/// weight's neighbours. The lane's places in them, past the first unit.
template <int kGroup>
struct MidSource {
  static constexpr int kScaleBytes = kUnitK / kGroup * 2;
  const uint8_t* codes[4];
  const uint8_t* scales;
  int rows, left;  // of a jump to the pair's next tile; rows of the weight behind this one's

  __device__ __forceinline__ void aim(const FlatWeights& w, int tile, int jump, int unit0,
                                      int lane) {
    const int r = lane >> 3, s = lane & 15;
    const TilePlace place = w.gated ? TilePlace{0, tile} : find_tile(w, tile);
    const FlatWeight& low = w.one[place.weight];
    const FlatWeight& high = w.one[w.gated ? 1 : place.weight];
    const int row0 = place.tile * (w.gated ? 8 : 16), row8 = row0 + (w.gated ? 0 : 8);
    rows = jump * (w.gated ? 8 : 16);
    left = min(low.n, high.n) - (w.gated ? 8 : 16) - row0;
    const int64_t row_bytes = w.k / 2;
    const int at = unit0 * (kUnitK / 2) + (lane & 7) * 16;
    codes[0] = low.codes + min(row0 + r, low.n - 1) * row_bytes + at;
    codes[1] = low.codes + min(row0 + r + 4, low.n - 1) * row_bytes + at;
    codes[2] = high.codes + min(row8 + r, high.n - 1) * row_bytes + at;
    codes[3] = high.codes + min(row8 + r + 4, high.n - 1) * row_bytes + at;
    const FlatWeight& own = s < 8 ? low : high;
    const int row = min((s < 8 ? row0 : row8) + (s & 7), own.n - 1);
    scales = (lane < 16 ? own.scales : own.biases) + row * static_cast<int64_t>(w.k / kGroup * 2) +
             unit0 * kScaleBytes;
  }
  __device__ __forceinline__ void advance(const FlatWeights& w) {
    left -= rows;
#pragma unroll
    for (int j = 0; j < 4; ++j) codes[j] += rows * static_cast<int64_t>(w.k / 2);
    scales += rows * static_cast<int64_t>(w.k / kGroup * 2);
  }
  template <int unit>
  __device__ __forceinline__ void copy(uint32_t to, int lane) const {
    const uint32_t at = to + static_cast<uint32_t>((lane >> 3) * kRowBytes + (lane & 7) * 16);
    const uint64_t once = read_once();
#pragma unroll
    for (int j = 0; j < 4; ++j)
      copy_once(at + j * 4 * kRowBytes, codes[j] + unit * (kUnitK / 2), once);
    copy_async<kScaleBytes>(
        to + static_cast<uint32_t>((lane & 15) * kRowBytes + (lane < 16 ? kScalesAt : kBiasesAt)),
        scales + unit * kScaleBytes);
  }
};

/// Sends for x of the block's `units`, the first of which begins at `x`. A warp takes 8 columns of
/// a unit at a time, by whole lines, each 16 bytes to where they belong, though not in order yet.
template <int kCols>
static __device__ __forceinline__ void fetch_mid(const uint8_t* x, int64_t x_row_bytes, int m,
                                                 int units, uint32_t operands, int lane, int warp,
                                                 int warps) {
  constexpr int kBlocks = kCols / 8;
  const int r = lane >> 3, c = lane & 7;
#pragma unroll 1
  for (int item = warp; item < units * kBlocks; item += warps) {
    const int block = item % kBlocks, unit = item / kBlocks;
    const uint32_t at = operands + (unit * kSteps * kBlocks + block) * 1024 + r * 128;
    const uint8_t* const from = x + (block * 8 + r) * x_row_bytes + unit * (kUnitK * 2) + c * 16;
    const int rows = m - block * 8;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const uint32_t to = at + i * kBlocks * 1024;
      copy_or_zero16(to + (c ^ r) * 16, r < rows ? from + i * 128 : x, r < rows);
      copy_or_zero16(to + 512 + (c ^ r ^ 4) * 16,
                     r + 4 < rows ? from + 4 * x_row_bytes + i * 128 : x, r + 4 < rows);
    }
  }
  commit_copies();
}

/// Makes B operands of what this warp has fetched, and its units' sums.
template <int kCols, int kGroup>
static __device__ __forceinline__ void stage_mid(uint32_t operands, uint32_t sums, int units,
                                                 int lane, int warp, int warps) {
  constexpr int kBlocks = kCols / 8;
  const int g = lane >> 2, t = lane & 3;
#pragma unroll 1
  for (int item = warp; item < units * kBlocks; item += warps) {
    const int block = item % kBlocks, unit = item / kBlocks;
    const uint32_t at = operands + (unit * kSteps * kBlocks + block) * 1024 + g * 128;
    uint32_t b[kSteps][8];
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const uint32_t from = at + i * kBlocks * 1024;
      permute_x(load_shared16(from + ((2 * t) ^ g) * 16),
                load_shared16(from + ((2 * t + 1) ^ g) * 16), b[i]);
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const uint32_t to = at + i * kBlocks * 1024 + t * 4;
#pragma unroll
      for (int j = 0; j < 8; ++j)
        asm volatile("st.shared.u32 [%0],%1;" ::"r"(to + (j ^ g) * 16), "r"(b[i][j]) : "memory");
    }
    const uint32_t to = sums + item * SumBlock<kGroup>::kBytes + lane * 4;
    SumBlock<kGroup>::each(
        UnitSums<kGroup>::template of<kCodeOffset>(b), [&](int at, uint32_t word) {
          asm volatile("st.shared.u32 [%0],%1;" ::"r"(to + at), "r"(word) : "memory");
        });
  }
}

}  // namespace stepless::kernels::sm90
