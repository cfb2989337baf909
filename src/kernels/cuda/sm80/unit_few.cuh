// m = 1..16 of the unit kernels, as flat_few: a warp owns one chain of 512 k at a time, the x of a
// unit in its registers, and walks over the block's row tiles behind a private ring of asynchronous
// copies. The chains of a block meet once, in shared memory.
#pragma once
#include "kernels/cuda/sm80/unit_formats.cuh"

namespace stepless::kernels::sm80 {

/// Dots of a step, and where their x's sums lie.
template <class Format, int kCols>
struct FewStep {
  static constexpr int kDots = Format::kDots, kProducts = 4 / kDots;
  static constexpr int kSumBytes = Format::kAffine ? kCols * kDots * 32 : 0;
  float dot[kCols][kDots][4];

  __device__ __forceinline__ void multiply(const typename Format::Codes& codes, int j,
                                           const uint32_t (&x)[kCols][kSteps][8], int step) {
    uint32_t a[4];
    Format::to_operand(codes, j, a);
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      float(&d)[4] = dot[c][j / kProducts];
      if (j % kProducts == 0) d[0] = d[1] = d[2] = d[3] = 0;
      Format::Type::multiply_add(d, d, a, x[c][step][2 * j], x[c][step][2 * j + 1]);
    }
  }
  /// scales_of(d): those of dot d.
  template <class ScalesOf>
  __device__ __forceinline__ void add_to(float (&acc)[kCols][4], ScalesOf scales_of, uint32_t sums,
                                         int t, bool odd) const {
#pragma unroll
    for (int d = 0; d < kDots; ++d) {
      const DotScales scales = scales_of(d);
#pragma unroll
      for (int c = 0; c < kCols; ++c)
        add_dot<Format>(acc[c], dot[c][d], load_dot_sums<Format>(sums + c * kDots * 32, d, t),
                        scales, odd);
    }
  }
};

/// row_of(c): of x, in this lane's column of block c; null where there is none.
template <class Format, int kCols, class RowOf>
static __device__ __forceinline__ void load_unit_x(RowOf row_of, int k0, int k, int lane,
                                                   uint32_t sums, uint32_t (&x)[kCols][kSteps][8]) {
  const int g = lane >> 2, t = lane & 3;
#pragma unroll
  for (int c = 0; c < kCols; ++c)
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      auto v = Format::no_x();
      const uint8_t* const row = row_of(c);
      if (row != nullptr && k0 + i * kStepK < k) v = Format::load_x(row + (k0 + i * kStepK) * 2, t);
      Format::permute(v, t, x[c][i]);
    }
  if constexpr (Format::kAffine) {
    __syncwarp();
#pragma unroll
    for (int c = 0; c < kCols; ++c)
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
        store_dot_sums<Format>(
            x[c][i], sums + i * FewStep<Format, kCols>::kSumBytes + c * Format::kDots * 32, g, t);
    __syncwarp();
  }
}

/// Shared memory of a warp: its ring, the sums of its x, a tile's scales.
template <class Format, int kCols>
static constexpr int few_warp_bytes(int stages) {
  return stages * Format::kUnitBytes + kSteps * FewStep<Format, kCols>::kSumBytes +
         DecodedScales<Format>::kBytes;
}

/// Where a warp finds what belongs to a unit: its first row, the x's sums, its scales decoded.
struct UnitPlace {
  uint32_t unit, sums, scales;
  int k_left;
};

/// kAtOnce: steps side by side, since a chain of products alone waits 33 cycles for each. Where
/// registers are short a branch keeps the others apart: interleaved they spill.
template <class Format, int kCols>
static __device__ __forceinline__ void add_unit(const ScaleRule& rule, const UnitPlace& at,
                                                int lane, const uint32_t (&x)[kCols][kSteps][8],
                                                float (&acc)[kCols][4], bool odd) {
  constexpr int kAtOnce = Format::kDots == 1 ? 2 : 1;
  constexpr int kSumBytes = FewStep<Format, kCols>::kSumBytes;
  const int g = lane >> 2, t = lane & 3;
  const uint32_t row = at.unit + g * Format::kRowBytes;
  typename Format::Scales low, high;
  if constexpr (Format::kDecodesOnce) {
    DecodedScales<Format>::decode(at.unit, rule, at.scales, lane);
    __syncwarp();
  } else {
    low = Format::load_scales(row, rule);
    high = Format::load_scales(row + 8 * Format::kRowBytes, rule);
  }
#pragma unroll
  for (int i0 = 0; i0 < kSteps; i0 += kAtOnce) {
    if (kCols > 1 && i0 * kStepK >= at.k_left) break;
    typename Format::Codes codes[kAtOnce];
    FewStep<Format, kCols> step[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) codes[i] = Format::load(row, i0 + i, t);
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) step[i].multiply(codes[i], j, x, i0 + i);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const uint32_t sums = at.sums + (i0 + i) * kSumBytes;
      if constexpr (Format::kDecodesOnce) {
        float s0[Format::kDots], s1[Format::kDots];
        DecodedScales<Format>::load(at.scales, g, i0 + i, s0);
        DecodedScales<Format>::load(at.scales, g + 8, i0 + i, s1);
        step[i].add_to(
            acc,
            [&](int d) {
              return DotScales{s0[d], s1[d], 0, 0};
            },
            sums, t, odd);
      } else {
        const auto scales_of = [&](int d) { return dot_scales<Format>(low, high, i0 + i, d); };
        step[i].add_to(acc, scales_of, sums, t, odd);
      }
    }
  }
}

template <int kCols, class Format, int kStages, int kThreads>
__global__ void __launch_bounds__(kThreads, 1)
    unit_few(const __grid_constant__ FlatWeights w, const __grid_constant__ UnitCall call,
             FewPlan plan) {
  extern __shared__ __align__(128) uint8_t shared[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int chain0 = warp % plan.chain_ways, row_way = warp / plan.chain_ways;
  const int chains = (w.k + kChainK - 1) / kChainK, units = (w.k + kUnitK - 1) / kUnitK;
  const int each = w.gated ? 2 : 1;  // a gate's tile and its partner are one block's
  const int64_t items = plan.tiles / each;
  const int first = static_cast<int>(items * blockIdx.x / gridDim.x) * each;
  const int end = static_cast<int>(items * (blockIdx.x + 1) / gridDim.x) * each;
  constexpr int kWarpBytes = few_warp_bytes<Format, kCols>(kStages);
  const uint32_t ring = shared_address(shared) + warp * kWarpBytes;
  const uint32_t sums = ring + kStages * Format::kUnitBytes;
  const uint32_t scales = sums + kSteps * FewStep<Format, kCols>::kSumBytes;
  float* const partials = reinterpret_cast<float*>(shared + (blockDim.x >> 5) * kWarpBytes);

  const FewShare own{chain0, row_way, chains, units, end};
  FewCursor ahead{first, chain0, 0, first + row_way, 0};
  settle<1>(ahead, plan, own);
  int fill = 0;
  const auto copy_next = [&] {
    if (ahead.band0 < end) {
      const TilePlace place = find_tile(w, ahead.tile);
      copy_rows<Format>(w.one[place.weight], call, place.tile, ahead.chain * 2 + ahead.run,
                        ring + fill * Format::kUnitBytes, lane);
      ahead.tile += plan.row_ways;
      if (ahead.tile >= min(ahead.band0 + plan.band, end)) settle<1>(ahead, plan, own);
    }
    commit_copies();
    fill = fill + 1 == kStages ? 0 : fill + 1;
  };
  let_next_start();
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) copy_next();
  wait_for_inputs();

  const bool odd = w.y_type != DType::f32;
  ScaleRule rule = Format::rule(call, lane);
  const auto row_of = [&](int c) {
    const int column = c * 8 + (lane >> 2);
    return column < call.m ? call.x + column * call.x_row_bytes : nullptr;
  };
  uint32_t x[kCols][kSteps][8];
  int slot = 0, buffer = 0;
  for (int band0 = first; band0 < end; band0 += plan.band) {
    const int band_end = min(band0 + plan.band, end);
    float* const meeting = partials + buffer * chains * plan.band * kCols * 128;
    for (int chain = chain0; chain < chains; chain += plan.chain_ways)
      for (int run = 0; run < 2 && chain * 2 + run < units; ++run) {
        const int k0 = chain * kChainK + run * kUnitK;
        load_unit_x<Format, kCols>(row_of, k0, w.k, lane, sums, x);
        for (int tile = band0 + row_way; tile < band_end; tile += plan.row_ways) {
          float4* const mine = reinterpret_cast<float4*>(
              meeting + (chain * plan.band + tile - band0) * kCols * 128 + lane * 4);
          float acc[kCols][4];
#pragma unroll
          for (int c = 0; c < kCols; ++c) {
            float4 v = make_float4(0, 0, 0, 0);
            if (run == 1) v = mine[c * 32];
            acc[c][0] = v.x, acc[c][1] = v.y, acc[c][2] = v.z, acc[c][3] = v.w;
          }
          if constexpr (Format::kTensorScale)
            rule.tensor_scale = call.tensor_scale[find_tile(w, tile).weight];
          wait_copies<kStages - 2>();
          __syncwarp();
          const UnitPlace at{ring + slot * Format::kUnitBytes, sums, scales, w.k - k0};
          slot = slot + 1 == kStages ? 0 : slot + 1;
          copy_next();
          add_unit<Format, kCols>(rule, at, lane, x, acc, odd);
#pragma unroll
          for (int c = 0; c < kCols; ++c)
            mine[c * 32] = make_float4(acc[c][0], acc[c][1], acc[c][2], acc[c][3]);
        }
      }
    __syncthreads();
    store_band<kCols>(w, call.m, SameRow{}, meeting, plan.band, band0, band_end);
    if (plan.buffers == 2)
      buffer ^= 1;
    else
      __syncthreads();
  }
}

}  // namespace stepless::kernels::sm80
