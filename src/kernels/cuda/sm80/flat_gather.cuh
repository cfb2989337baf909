// Experts of 4 bits, and with gather_formats.cuh of other widths, under expert_gather.cuh: units as
// in flat_few.
#pragma once
#include "kernels/cuda/sm80/expert_gather.cuh"

namespace stepless::kernels::sm80 {

struct GatherX {
  const uint8_t* x;
  int64_t x_row_bytes;
};

template <int kCols_, class Format, int kStages_, int kThreads_>
struct Gather {
  using Call = GatherX;
  static constexpr int kCols = kCols_, kStages = kStages_, kThreads = kThreads_;
  static constexpr int kUnitBytes = Format::kUnitBytes;
  static constexpr int kWarpBytes = kStages * kUnitBytes;
  typename Format::Sums sums[kCols];

  __device__ __forceinline__ Gather(const FlatWeights&, const Call&, uint32_t, int) {}
  static __device__ __forceinline__ void copy(const FlatWeight& w, const Call&, int tile, int u,
                                              uint32_t to, int lane) {
    Format::copy(w, tile, u, to, lane);
  }

  __device__ __forceinline__ void take_tile(const FlatWeights&, const Call&, int) {}

  /// x of a unit as operands, and its sums.
  __device__ __forceinline__ void load_x(const uint8_t* const (&rows)[kCols], int k0, int k,
                                         uint32_t (&xf)[kCols][kSteps][8]) {
    const int lane = threadIdx.x & 31, t = lane & 3;
    uint4 p[kCols][kSteps], q[kCols][kSteps];
#pragma unroll
    for (int i = 0; i < kCols * kSteps; ++i) {
      const int c = i / kSteps, at = k0 + i % kSteps * kStepK;
      p[c][i % kSteps] = q[c][i % kSteps] = make_uint4(0, 0, 0, 0);
      if (rows[c] == nullptr || at >= k) continue;
      const uint8_t* from = rows[c] + (at + t * 16) * 2;
      p[c][i % kSteps] = load_input16(from), q[c][i % kSteps] = load_input16(from + 16);
    }
#pragma unroll
    for (int i = 0; i < kCols * kSteps; ++i)
      Format::permute(p[i / kSteps][i % kSteps], q[i / kSteps][i % kSteps],
                      xf[i / kSteps][i % kSteps]);
#pragma unroll
    for (int c = 0; c < kCols; ++c) sums[c] = Format::sums_of(xf[c]);
  }

  /// A unit's scales and codes, out of its slot of the ring.
  struct Unit {
    typename Format::Scales low, high;
    uint32_t low_word, high_word;  // of the sums' A
    typename Format::Codes codes[kSteps];
    __device__ __forceinline__ explicit Unit(uint32_t slot) {
      const int lane = threadIdx.x & 31;
      const uint32_t row = slot + (lane >> 2) * Format::kRowBytes;
      low = Format::Scales::load(row), high = Format::Scales::load(row + 8 * Format::kRowBytes);
      const uint32_t word = row + Format::word_at(lane & 3);
      low_word = load_shared4(word), high_word = load_shared4(word + 8 * Format::kRowBytes);
#pragma unroll
      for (int i = 0; i < kSteps; ++i) codes[i] = Format::load(row, i, lane & 3);
    }
  };

  /// Adds a unit to its chains, two steps side by side as in flat_few.
  template <class CopyNext>
  __device__ __forceinline__ void add_unit(uint32_t slot, int,
                                           const uint32_t (&xf)[kCols][kSteps][8],
                                           float (&acc)[kCols][4], CopyNext copy_next) const {
    const Unit unit(slot);
    copy_next();
#pragma unroll
    for (int c = 0; c < kCols; ++c) sums[c].add_to(acc[c], unit.low_word, unit.high_word);
#pragma unroll
    for (int pair = 0; pair < kSteps; pair += 2) {
      float dot[2][kCols][4];
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          uint32_t a[4];
          Format::to_operand(unit.codes[pair + i], j, a);
#pragma unroll
          for (int c = 0; c < kCols; ++c) {
            const uint32_t(&b)[8] = xf[c][pair + i];
            add_product<typename Format::Type>(dot[i][c], j == 0, a, b[2 * j], b[2 * j + 1]);
          }
        }
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int c = 0; c < kCols; ++c)
          add_step(acc[c], dot[i][c], unit.low.scale(pair + i), unit.high.scale(pair + i));
    }
  }
};

/// One column of tiles serves 8 pairs, two serve 16: whatever experts have about on average. On an
/// H200 two columns are 5 % faster with eight warps of 193 registers than with twelve that spill.
template <class Format, int kStages = 3, int kWarps = 12, int kWideStages = 5>
static int32_t launch_experts(const FlatCall& call, const ExpertPairs& pairs,
                              int64_t row_code_bytes, const CudaContext& context) {
  if (pairs.pairs == 0) return cudaSuccess;
  const MatmulArgs& a = call.first();
  const GatherX x{static_cast<const uint8_t*>(a.x), a.x_stride * 2};
  const RowBytes row{row_code_bytes, a.k / a.group_size * 2};
  if (pairs.pairs <= 5 * pairs.experts)
    return launch_gather<Gather<1, Format, kStages, kWarps * 32>>(call, x, pairs, row, context,
                                                                  48 << 10);
  return launch_gather<Gather<2, Format, kWideStages, 256>>(call, x, pairs, row, context, 80 << 10);
}

}  // namespace stepless::kernels::sm80
