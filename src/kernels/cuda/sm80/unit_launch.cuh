// Host side of the unit kernels: which instance serves m, and how it divides the work. The order of
// summation is the same for all of them.
#pragma once
#include "kernels/cuda/sm80/unit_few.cuh"
#include "kernels/cuda/sm80/unit_many.cuh"

namespace stepless::kernels::sm80 {

template <class Format>
static UnitCall unit_call(const FlatCall& call) {
  const MatmulArgs& a = call.first();
  const int k = static_cast<int>(a.k);
  UnitCall all{};
  all.x = static_cast<const uint8_t*>(a.x), all.x_row_bytes = a.x_stride * 2;
  all.w_row_bytes = a.k / kUnitK * Format::kCodeBytes + a.k % kUnitK * Format::kCodeBytes / kUnitK;
  all.m = static_cast<int>(a.m), all.group = a.group_size;
  const int scale_size = Format::Scales::size(a.w_type);
  all.row_scales = k / a.group_size * scale_size;
  all.unit_scales = kUnitK / a.group_size * scale_size;
  all.scale_type = a.w_type;
  all.whole = k % kUnitK == 0;
  for (int64_t i = 0; i < call.count; ++i) all.tensor_scale[i] = call.parts[i].tensor_scale;
  return all;
}

/// The most shared memory a block may have; 0 on an error.
static int most_shared_bytes() {
  int device = 0, most = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  if (cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
    return 0;
  return most;
}

/// Warps of a block, stages of their rings and room for partial sums. Twenty warps have 96
/// registers each, which hold the x of 8 rows: at 13824 x 5120 on an H200 17.6 us of mxfp4 instead
/// of twelve's 19.1, at 5120 x 13824 22.7 instead of 25.4; of 8 bits sixteen take 3 % less than
/// twenty. 16 rows take 160 registers: fourteen warps spill and lose.
template <class Format, int kCols>
struct FewRoom {
  static constexpr bool kLarge = Format::kCodeBytes > 192;  // 8 bits
  static constexpr bool kMixed = Format::kCopiedWords > 4;  // scales of any type take more
  static constexpr int kWarps = kMixed       ? (kCols == 1 ? 12 : 8)
                                : kCols == 1 ? (kLarge ? 16 : 20)
                                : kLarge     ? 10
                                             : 12;
  static constexpr int kMeetingBytes = kCols == 1 ? 48 << 10 : 80 << 10;
  static constexpr int kFitting =
      ((186 << 10) / kWarps - DecodedScales<Format>::kBytes) / Format::kUnitBytes;
  static constexpr int kStages = kCols == 2 ? 3 : kFitting < 2 ? 2 : kFitting > 4 ? 4 : kFitting;
  static constexpr int kWarpBytes = few_warp_bytes<Format, kCols>(kStages);

  /// Where a block has few tiles, fewer warps leave room for the next launch beside it: 4096 x 4096
  /// takes 6.6 us instead of 7.1.
  static int warps(int k, int tiles, const CudaContext& context) {
    const bool is_small = tiles <= 3 * context.multiprocessors && k <= 12 * kChainK;
    return is_small && k % kUnitK == 0 ? smaller(kWarps, 12) : kWarps;
  }
};

template <int kCols, class Format>
static int32_t launch_unit_few(const FlatCall& call, const CudaContext& context) {
  using Room = FewRoom<Format, kCols>;
  const FlatWeights weights = weights_of(call, 1);
  const int most = most_shared_bytes(), tiles = weights.end[call.count - 1];
  FewGeometry geometry{};
  int warps = Room::warps(weights.k, tiles, context);
  for (; warps > 0; warps /= 2) {  // a smaller card, or a long k
    const int meeting_bytes = smaller(Room::kMeetingBytes, most - warps * Room::kWarpBytes);
    geometry =
        few_geometry(weights, tiles, kCols, Room::kWarpBytes, context, {warps, meeting_bytes, 1});
    if (geometry.bytes <= most) break;
  }
  return launch(unit_few<kCols, Format, Room::kStages, Room::kWarps * 32>, geometry.blocks,
                geometry.warps * 32, geometry.bytes, context, weights, unit_call<Format>(call),
                geometry.plan);
}

template <int kTeam, int kWarpCols, class Format, int kStages, int kTeams>
static int32_t launch_unit_many(const FlatCall& call, const CudaContext& context) {
  using Room = ManyRoom<Format, kTeam, kWarpCols, kStages, kTeams>;
  const FlatWeights weights = weights_of(call, kPairTiles);
  const int parts = divided_up(static_cast<int>(call.first().k), kPartK);
  const int pairs = weights.end[call.count - 1] / kPairTiles;
  int slots = context.multiprocessors / parts;
  if (slots < 1) slots = 1;
  slots = smaller(slots, pairs);
  return launch(unit_many<kTeam, kWarpCols, Format, kStages, kTeams>, slots * parts, Room::kThreads,
                Room::kBytes, context, weights, unit_call<Format>(call), pairs,
                reinterpret_cast<float4*>(context.workspace + kTicketBytes),
                reinterpret_cast<unsigned*>(context.workspace));
}

/// At most kManyRows rows of x.
template <class Format>
static int32_t launch_unit_rows(const FlatCall& call, const CudaContext& context) {
  constexpr int kStages = Format::kCodeBytes > 192 ? 2 : 3;  // 8 bits
  const int64_t m = call.first().m;
  if (m <= 8) return launch_unit_few<1, Format>(call, context);
  if (m <= 16) return launch_unit_few<2, Format>(call, context);
  const int most = most_shared_bytes();
  if (m <= 32 && ManyRoom<Format, 2, 2, kStages, 6>::kBytes <= most)
    return launch_unit_many<2, 2, Format, kStages, 6>(call, context);
  if (m > 32 && ManyRoom<Format, 2, 4, kStages, 4>::kBytes <= most)
    return launch_unit_many<2, 4, Format, kStages, 4>(call, context);
  return launch_slices(call, kTileRows, [&](const FlatCall& part) {  // a smaller card
    return launch_unit_few<2, Format>(part, context);
  });
}

template <class Format>
static int32_t launch_units(const FlatCall& call, const CudaContext& context) {
  return launch_slices(call, kManyRows, [&](const FlatCall& part) {
    return launch_unit_rows<Format>(part, context);
  });
}

[[maybe_unused]] static int64_t unit_workspace_bytes(const void* args) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  const int64_t parts = (a.k + kPartK - 1) / kPartK, rows = (a.n + 31) / 32 * 32;
  return kTicketBytes + rows * parts * kManyRows * 4;
}

/// What a file exports for one format.
template <class Format>
static int32_t launch_format_units_together(const MatmulArgs* parts, int64_t count,
                                            const GluArgs* glu, const CudaContext& context) {
  return launch_units<Format>({parts, count, glu}, context);
}
template <class Format>
static int32_t launch_format_units(const void* args, const CudaContext& context) {
  return launch_units<Format>({static_cast<const MatmulArgs*>(args), 1, nullptr}, context);
}

/// The same for affine codes. Groups of 32 are dots of their own; the widths that most weights have
/// take larger ones in dots of 64.
template <class Type, int kBits>
static int32_t launch_affine_units_together(const MatmulArgs* parts, int64_t count,
                                            const GluArgs* glu, const CudaContext& context) {
  const FlatCall call{parts, count, glu};
  if constexpr (kBits == 4 || kBits == 8)
    if (call.first().group_size > 32)
      return launch_units<AffineUnits<Type, kBits, 1>>(call, context);
  return launch_units<AffineUnits<Type, kBits, 2>>(call, context);
}
template <class Type, int kBits>
static int32_t launch_affine_units(const void* args, const CudaContext& context) {
  return launch_affine_units_together<Type, kBits>(static_cast<const MatmulArgs*>(args), 1, nullptr,
                                                   context);
}

}  // namespace stepless::kernels::sm80
