// What flat_mid reads: rows of packed weights by copies into a warp's ring, and x of a part, which
// becomes operands in shared memory.
#pragma once
#include "kernels/cuda/sm80/flat_few.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"

namespace stepless::kernels::sm90 {

using namespace sm80;

constexpr int kMidTiles = 4;  // of 16 outputs, a warpgroup's
constexpr int kMidChainUnits = kChainK / kUnitK;

/// Whether groups of a format have dots of their own (mid_dots.cuh); else sums of x go with them.
template <class Format>
constexpr bool kHasDots = requires {
  Format::kDots;
};

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

/// How a format's unit lies in a ring: by rows of 256 k, as the format says, scales behind codes;
/// but of affine 8 bits, padded rows would leave no room for more than 16 columns. Those lie 256
/// bytes apart, where odd ones have the steps of each pair in turns, which spreads the banks as
/// well, and scales stand between both runs of eight rows.
template <class Format>
struct MidUnit {
  static constexpr int kBits = Format::kBits;
  static constexpr bool kIsPadded = kBits < 8 || kHasDots<Format>;
  static constexpr int kRow = kIsPadded ? Format::kRowBytes : Format::kCodeBytes;
  static constexpr int kRow8 = 8 * Format::kRowBytes;  // where Format::load() looks for it
  static constexpr int kScales = kIsPadded ? Format::kScalesAt : 8 * kRow;
  static constexpr int kBiases = kScales + Format::kBiasesAt - Format::kScalesAt;
  static constexpr int kScaleRow = kIsPadded ? kRow : 16;
  static constexpr int kBytes = kRow8 + 8 * kRow;
  static_assert(kIsPadded || kScales + kTileRows * kScaleRow <= kRow8);

  /// Of row g in a unit: what Format::load() takes for a step, and its scales, likewise.
  static __device__ __forceinline__ uint32_t codes_of(uint32_t unit, int g, int step) {
    const uint32_t row = unit + g * kRow;
    if constexpr (kIsPadded) return row;
    const uint32_t turn = (g & 1) * Format::kCodeBytes / kSteps;
    return step % 2 == 0 ? row + turn : row - turn;
  }
  static __device__ __forceinline__ uint32_t scales_of(uint32_t unit, int g) {
    return unit + g * kScaleRow + kScales - Format::kScalesAt;
  }
  static constexpr int kRow8Scales = 8 * kScaleRow;  // past row 0's
};

/// The rows that a warp reads of its 16: two runs of 8, which are a gate's and an up's or one
/// weight's neighbours. The lane's places in them, past the first unit. A row's 16-byte chunks are
/// copied as a strip of 2, 4, 8 or 16 and one of what is left, 2 or 4, so that a lane has the same
/// chunk of several rows.
template <class Format>
struct MidSource {
  using Unit = MidUnit<Format>;
  static constexpr int kBits = Unit::kBits, kScaleBytes = Format::kScaleBytes;
  static constexpr int kStrip = kBits == 8 ? 16 : kBits >= 4 ? 8 : kBits > 1 ? 4 : 2;
  static constexpr int kRest = 2 * kBits - kStrip;
  const uint8_t* codes[kBits];
  const uint8_t* scales;
  int rows, left;  // of a jump to the pair's next tile; rows of the weight behind this one's

  static __device__ __forceinline__ constexpr int strip_of(int copy) {
    return copy < kStrip / 2 ? kStrip : kRest;
  }
  /// Of a copy, its first row of 16, the lane's row behind that, and its chunk.
  static __device__ __forceinline__ constexpr int first_row(int copy) {
    return (copy < kStrip / 2 ? copy : copy - kStrip / 2) * 32 / strip_of(copy);
  }
  static __device__ __forceinline__ int row_of(int copy, int lane) { return lane / strip_of(copy); }
  static __device__ __forceinline__ int chunk_of(int copy, int lane) {
    return (copy < kStrip / 2 ? 0 : kStrip) + lane % strip_of(copy);
  }
  static __device__ __forceinline__ int64_t row_bytes(const FlatWeights& w) {
    return static_cast<int64_t>(w.k / 8 * kBits);
  }

  __device__ __forceinline__ void aim(const FlatWeights& w, int tile, int jump, int unit0,
                                      int lane) {
    const int s = lane & 15;
    const TilePlace place = w.gated ? TilePlace{0, tile} : find_tile(w, tile);
    const FlatWeight& low = w.one[place.weight];
    const FlatWeight& high = w.one[w.gated ? 1 : place.weight];
    const int row0 = place.tile * (w.gated ? 8 : 16), row8 = row0 + (w.gated ? 0 : 8);
    rows = jump * (w.gated ? 8 : 16);
    left = min(low.n, high.n) - (w.gated ? 8 : 16) - row0;
#pragma unroll
    for (int j = 0; j < kBits; ++j) {
      const int r = first_row(j) + row_of(j, lane);
      const FlatWeight& own = r < 8 ? low : high;
      codes[j] = own.codes + min((r < 8 ? row0 : row8) + (r & 7), own.n - 1) * row_bytes(w) +
                 unit0 * Format::kCodeBytes + chunk_of(j, lane) * 16;
    }
    const FlatWeight& own = s < 8 ? low : high;
    const int row = min((s < 8 ? row0 : row8) + (s & 7), own.n - 1);
    scales = (lane < 16 ? own.scales : own.biases) +
             row * static_cast<int64_t>(w.k / kUnitK * kScaleBytes) + unit0 * kScaleBytes;
  }
  __device__ __forceinline__ void advance(const FlatWeights& w) {
    left -= rows;
#pragma unroll
    for (int j = 0; j < kBits; ++j) codes[j] += rows * row_bytes(w);
    scales += rows * static_cast<int64_t>(w.k / kUnitK * kScaleBytes);
  }
  template <int unit>
  __device__ __forceinline__ void copy(uint32_t to, int lane) const {
    const uint64_t once = read_once();
#pragma unroll
    for (int j = 0; j < kBits; ++j) {
      const int r = row_of(j, lane), c = chunk_of(j, lane) ^ (Unit::kIsPadded ? 0 : (r & 1) * 4);
      const int row0 = first_row(j);
      copy_once(to + static_cast<uint32_t>(r * Unit::kRow + c * 16) + row0 / 8 * Unit::kRow8 +
                    row0 % 8 * Unit::kRow,
                codes[j] + unit * Format::kCodeBytes, once);
    }
    if (kHasDots<Format> && lane >= 16) return;  // no biases
    copy_async<kScaleBytes>(to + static_cast<uint32_t>((lane & 15) * Unit::kScaleRow +
                                                       (lane < 16 ? Unit::kScales : Unit::kBiases)),
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

/// Makes B operands of what this warp has fetched, and its units' sums where the format has them.
template <int kCols, class Format>
static __device__ __forceinline__ void stage_mid(uint32_t operands, uint32_t sums, int units,
                                                 int lane, int warp, int warps) {
  using Block = SumBlock<Format::kGroup>;
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
      if constexpr (kHasDots<Format>)
        Format::load_x(from, g, t, b[i]);
      else
        Format::permute(load_shared16(from + ((2 * t) ^ g) * 16),
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
    if constexpr (!kHasDots<Format>) {
      const uint32_t to = sums + item * Block::kBytes + lane * 4;
      Block::each(Format::sums_of(b), [&](int at, uint32_t word) {
        asm volatile("st.shared.u32 [%0],%1;" ::"r"(to + at), "r"(word) : "memory");
      });
    }
  }
}

}  // namespace stepless::kernels::sm90
