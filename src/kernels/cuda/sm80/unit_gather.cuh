// Experts of the unit formats under expert_gather.cuh: units as in unit_few.
#pragma once
#include "kernels/cuda/sm80/expert_gather.cuh"
#include "kernels/cuda/sm80/unit_launch.cuh"

namespace stepless::kernels::sm80 {

template <int kCols_, class Format, int kStages_, int kThreads_>
struct UnitGather {
  using Call = UnitCall;
  static constexpr int kCols = kCols_, kStages = kStages_, kThreads = kThreads_;
  static constexpr int kUnitBytes = Format::kUnitBytes;
  static constexpr int kWarpBytes = few_warp_bytes<Format, kCols>(kStages);
  uint32_t sums, scales;
  ScaleRule rule;
  bool odd;

  __device__ __forceinline__ UnitGather(const FlatWeights& w, const Call& call, uint32_t ring,
                                        int lane)
      : sums(ring + kStages * kUnitBytes),
        scales(sums + kSteps * FewStep<Format, kCols>::kSumBytes),
        rule(Format::rule(call, lane)),
        odd(w.y_type != DType::f32) {}
  static __device__ __forceinline__ void copy(const FlatWeight& w, const Call& call, int tile,
                                              int u, uint32_t to, int lane) {
    copy_rows<Format>(w, call, tile, u, to, lane);
  }
  __device__ __forceinline__ void load_x(const uint8_t* const (&rows)[kCols], int k0, int k,
                                         uint32_t (&x)[kCols][kSteps][8]) const {
    load_unit_x<Format, kCols>([&](int c) { return rows[c]; }, k0, k, threadIdx.x & 31, sums, x);
  }
  __device__ __forceinline__ void take_tile(const FlatWeights& w, const Call& call, int tile) {
    if constexpr (Format::kTensorScale)
      rule.tensor_scale = call.tensor_scale[find_tile(w, tile).weight];
  }
  template <class CopyNext>
  __device__ __forceinline__ void add_unit(uint32_t slot, int k_left,
                                           const uint32_t (&x)[kCols][kSteps][8],
                                           float (&acc)[kCols][4], CopyNext copy_next) const {
    copy_next();
    sm80::add_unit<Format, kCols>(rule, {slot, sums, scales, k_left}, threadIdx.x & 31, x, acc,
                                  odd);
  }
};

/// Columns as in launch_experts(). Twelve warps with the x of 16 rows suit mxfp4 alone: 32 experts
/// of 2880x2880 take an H200 996 us instead of 1194 at 1024 tokens, nvfp4 6 % more than with eight.
/// Sixteen with the x of 8 rows take 6 % more than twelve.
template <class Format>
struct GatherRoom {
  static constexpr bool kLarge = Format::kCodeBytes > 192;  // 8 bits
  static constexpr bool kLight = !Format::kAffine && Format::kDots == 2 && !kLarge;
  static constexpr int kWarps = kLarge ? 10 : 12, kWideWarps = kLight ? 12 : 8;
  static constexpr int kWideStages = kLarge ? 3 : 4;
};
template <class Format>
static int32_t launch_unit_experts(const FlatCall& call, const ExpertPairs& pairs,
                                   const CudaContext& context) {
  using Room = GatherRoom<Format>;
  using Narrow = UnitGather<1, Format, 3, Room::kWarps * 32>;
  using Wide = UnitGather<2, Format, Room::kWideStages, Room::kWideWarps * 32>;
  if (pairs.pairs == 0) return cudaSuccess;
  const UnitCall x = unit_call<Format>(call);
  const RowBytes row{x.w_row_bytes, x.row_scales};
  return pairs.pairs <= 5 * pairs.experts
             ? launch_gather<Narrow>(call, x, pairs, row, context, 48 << 10)
             : launch_gather<Wide>(call, x, pairs, row, context, 80 << 10);
}

/// What a file exports for one format.
template <class Format>
static int32_t launch_format_unit_experts(const MatmulArgs* parts, int64_t count,
                                          const GluArgs* glu, const ExpertPairs& pairs,
                                          const CudaContext& context) {
  return launch_unit_experts<Format>({parts, count, glu}, pairs, context);
}
/// The same for affine codes, as launch_affine_units_together() has them.
template <class Type, int kBits>
static int32_t launch_affine_unit_experts(const MatmulArgs* parts, int64_t count,
                                          const GluArgs* glu, const ExpertPairs& pairs,
                                          const CudaContext& context) {
  const FlatCall call{parts, count, glu};
  if constexpr (kBits == 4 || kBits == 8)
    if (call.first().group_size > 32)
      return launch_unit_experts<AffineUnits<Type, kBits, 1>>(call, pairs, context);
  return launch_unit_experts<AffineUnits<Type, kBits, 2>>(call, pairs, context);
}

}  // namespace stepless::kernels::sm80
