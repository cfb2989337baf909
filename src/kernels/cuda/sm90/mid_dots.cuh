// Formats whose groups have dots of their own (order mma_units) under flat_mid: how a warp adds a
// unit, some of a step's dots at a time, and what it makes of x.
#pragma once
#include "kernels/cuda/sm90/lone_kinds.cuh"
#include "kernels/cuda/sm90/mid_copies.cuh"

namespace stepless::kernels::sm90 {

/// A UnitFormat of bf16 as flat_mid takes it: codes and scales as flat_lone does.
template <class Units>
struct MidDots {
  using Kind = ByDots<Units>;
  using Type = typename Units::Type;
  using Codes = typename Kind::Codes;
  using Weights = typename Kind::Weights;
  static constexpr int kBits = Kind::kBits, kGroup = Kind::kGroup, kDots = Kind::kDots;
  static constexpr int kRowBytes = Units::kRowBytes, kCodeBytes = Units::kCodeBytes;
  static constexpr int kScalesAt = Units::kScalesAt, kBiasesAt = Units::kBiasesAt;
  static constexpr int kScaleBytes = kUnitK / kGroup;  // of a row's unit
  static constexpr int kSideBytes = Kind::kSideBytes;  // of a warp, for decoded scales
  static constexpr int kOfDot = 4 / kDots;             // products

  /// Dots of a step that are multiplied at a time, as registers allow: they are there with the
  /// chains, and with their operands and those of the next turn, of which two dots of 32 have four.
  static constexpr int together(int cols) { return cols <= (kDots == 4 ? 32 : 16) ? 2 : 1; }

  /// The scale of the tensor that the lane's row of a tile is of.
  static __device__ __forceinline__ float times_of(const Weights& w, int tile, int lane) {
    if constexpr (Kind::kTensorScale)
      return w.tensor_scale[w.gated ? lane / 16 : find_tile(w, tile).weight];
    return 1;
  }

  /// A column's x of a step as B operands; `row`: of its 128 bytes, chunk c at place c ^ g.
  static __device__ __forceinline__ void load_x(uint32_t row, int g, int t, uint32_t (&b)[8]) {
    if constexpr (kDots == 4) {
#pragma unroll
      for (int h = 0; h < 4; ++h) {
        const uint32_t at = row + ((2 * h + t / 2) ^ g) * 16 + t % 2 * 4;
        b[2 * h] = load_shared4(at), b[2 * h + 1] = load_shared4(at + 8);
      }
    } else {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint4 run = load_shared16(row + ((4 * h + t) ^ g) * 16);
        b[4 * h] = run.x, b[4 * h + 1] = run.y, b[4 * h + 2] = run.z, b[4 * h + 3] = run.w;
      }
    }
    Kind::permute(b, t);
  }

  /// Adds the unit at `unit` of the warp's ring to its chain, which the first one begins. `side`:
  /// the warp's place for scales, `operands`: the descriptor of the unit's x.
  template <int kCols, bool kIsFirst>
  static __device__ __forceinline__ void add_unit(float (&chain)[kCols / 2], uint32_t unit,
                                                  uint32_t side, uint64_t operands, float times) {
    constexpr int kTogether = together(kCols), kTurns = kDots / kTogether, kProducts = 4 / kTurns;
    const int lane = threadIdx.x & 31;
    typename Kind::HalfScales bytes;
    Kind::load_half(unit + Kind::half_at(lane), bytes);
    Kind::decode_half(bytes, times, side + Kind::decoded_at(lane));
    const uint32_t from = unit + Codes::lane_at(lane), select = Codes::select(lane & 3);
    const uint32_t scales = side + lane / 4 * Kind::Decoded::kRowBytes;
    Codes codes;
    const auto decode = [&](int turn, uint32_t(&a)[kProducts][4]) {
      if (turn % kTurns == 0) codes = Codes::load(from, turn / kTurns, select);
#pragma unroll
      for (int j = 0; j < kProducts; ++j) {
        codes.operand(turn % kTurns * kProducts + j, a[j]);
        pin(a[j]);
      }
    };
    const auto add = [&](int turn, uint32_t(&a)[kProducts][4], uint32_t(&next)[kProducts][4]) {
      const uint64_t b = operands + static_cast<uint32_t>(turn / kTurns * (kCols * 128 / 16) +
                                                          turn % kTurns * kProducts * 2);
      float dot[kTogether][kCols / 2], low[kTogether], high[kTogether];
      pin(chain);
      begin_products();
#pragma unroll
      for (int j = 0; j < kProducts; ++j)
        if (j % kOfDot == 0)
          Wgmma<kCols, DType::bf16, 0, 0>::add(dot[j / kOfDot], a[j], b + j * 2);
        else
          Wgmma<kCols>::add(dot[j / kOfDot], a[j], b + j * 2);
      commit_products();
      load_decoded(scales + turn * kTogether * 4, low);
      load_decoded(scales + turn * kTogether * 4 + 8 * Kind::Decoded::kRowBytes, high);
      if (turn + 1 < kSteps * kTurns) decode(turn + 1, next);
      wait_products();
#pragma unroll
      for (int d = 0; d < kTogether; ++d) pin(dot[d]);
      pin(chain);
#pragma unroll
      for (int d = 0; d < kTogether; ++d)
#pragma unroll
        for (int c = 0; c < kCols / 2; ++c)
          chain[c] = __fmaf_rn(c % 4 < 2 ? low[d] : high[d], dot[d][c], chain[c]);
    };
    uint32_t even[kProducts][4], odd[kProducts][4];  // turns' operands
    decode(0, even);
    __syncwarp();  // scales are there
    if constexpr (kIsFirst)
#pragma unroll
      for (float& sum : chain) sum = 0;
#pragma unroll
    for (int turn = 0; turn < kSteps * kTurns; turn += 2)
      add(turn, even, odd), add(turn + 1, odd, even);
  }

 private:
  static __device__ __forceinline__ void load_decoded(uint32_t at, float (&scales)[1]) {
    scales[0] = __uint_as_float(load_shared4(at));
  }
  static __device__ __forceinline__ void load_decoded(uint32_t at, float (&scales)[2]) {
    const uint2 two = load_shared8(at);
    scales[0] = __uint_as_float(two.x), scales[1] = __uint_as_float(two.y);
  }
  static __device__ __forceinline__ void load_decoded(uint32_t at, float (&scales)[4]) {
    load_sums(at, scales);
  }
};

}  // namespace stepless::kernels::sm90
