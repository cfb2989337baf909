// Host side of the wide kernels: what the rows for m from 65 on export.
#pragma once
#include "kernels/cuda/sm90/wide_gather.cuh"

namespace stepless::kernels::sm90 {
namespace {  // of each file its own

constexpr int64_t kMostSplitTiles = 66;  // tiles that blocks share: two to a tile, or more
constexpr int64_t kMostBlocks = 144;     // multiprocessors of the largest Hopper
constexpr int64_t kBandRows = 2048;      // of x, which are to stay in the L2 cache

int64_t row_tiles_of(const MatmulArgs& a) { return (a.m + kWideCols - 1) / kWideCols; }
int64_t units_of(const MatmulArgs& a) { return (a.k + kUnitK - 1) / kUnitK; }
int64_t parts_of(const MatmulArgs& a) { return (a.k + kPartK - 1) / kPartK; }
int64_t tiles_of(const MatmulArgs& a) {
  return row_tiles_of(a) * ((a.n + kWideOutputs - 1) / kWideOutputs);
}
template <class Kind>
int64_t prepared_bytes(const MatmulArgs& a) {
  return row_tiles_of(a) * units_of(a) * WideUnit<kWideCols, Kind>::kBytes;
}

/// Tiles that are few are shared; of others each block has as many parts as the next.
WideSplit split_of(const MatmulArgs& a, uint8_t* sums, const CudaContext& context) {
  const int64_t parts = parts_of(a), tiles = tiles_of(a);
  const int64_t blocks =
      context.multiprocessors < kMostBlocks ? context.multiprocessors : kMostBlocks;
  int64_t slices = tiles <= kMostSplitTiles ? blocks / tiles : 1;
  slices = slices < 1 ? 1 : slices < parts ? slices : parts;
  const int64_t each = (parts + slices - 1) / slices;
  return {prompt_line(row_tiles_of(a), tiles / row_tiles_of(a), parts, blocks),
          static_cast<int>((parts + each - 1) / each), static_cast<int>(each),
          reinterpret_cast<float*>(sums), reinterpret_cast<unsigned*>(context.workspace)};
}

template <int kCols, class Kind>
cudaError_t launch_columns(const FlatCall& call, const CudaContext& context) {
  constexpr int kBytes = WideRoom<Kind>::kBytes;
  const auto kernel = flat_wide<kCols, Kind>;
  cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error != cudaSuccess) return error;
  WideArgs<Kind> args{};
  args.w = wide_weights(call), args.call = Kind::call_of(call);
  MatmulArgs a = call.first();
  a.n = int64_t{args.w.end[kMostTogether - 1]} * kTileRows;
  uint8_t* const prepared = context.workspace + kTicketBytes;
  const auto warps = static_cast<unsigned>(row_tiles_of(a) * units_of(a) * (kCols / 8));
  error = launch_grid(prepare_wide<kCols, Kind>, {(warps + 7) / 8, 256}, context, a.x,
                      a.x_stride * 2, static_cast<int>(a.m), static_cast<int>(a.k), prepared);
  if (error != cudaSuccess) return error;
  args.x = prepared, args.m = static_cast<int>(a.m), args.band = kBandRows / kWideCols;
  args.split = split_of(a, prepared + prepared_bytes<Kind>(a), context);
  const int64_t blocks =
      args.split.slices > 1 ? tiles_of(a) * args.split.slices : args.split.line.blocks;
  return launch_grid(kernel, {static_cast<unsigned>(blocks), kWideBlock, kBytes}, context, args);
}
/// Tiles of kWideCols rows, or of half as many where one such is all there is: 13824 x 5120 of
/// mxfp4 takes 43 us at 64 rows of an H200.
template <class Kind>
cudaError_t launch_wide(const FlatCall& call, const CudaContext& context) {
  return call.first().m <= kWideCols / 2 ? launch_columns<kWideCols / 2, Kind>(call, context)
                                         : launch_columns<kWideCols, Kind>(call, context);
}

/// Never less for fewer rows: room is made for the largest step.
template <class Kind>
int64_t wide_bytes(const MatmulArgs& a) {
  const int64_t tiles = tiles_of(a);
  const int64_t shared = tiles < kMostSplitTiles ? tiles : kMostSplitTiles;
  const int64_t sums = shared * parts_of(a) > kMostBlocks ? shared * parts_of(a) : kMostBlocks;
  return kTicketBytes + prepared_bytes<Kind>(a) + sums * kWideOutputs * kWideCols * 4;
}

/// What a row exports. Kinds::each(args, f) returns f(KindIs<Kind>{}) of the kind that serves args.
template <class Kinds>
struct WideRow {
  static int32_t products(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                          const CudaContext& context) {
    return Kinds::each(*parts, [&](auto is) -> int32_t {
      return launch_wide<typename decltype(is)::type>({parts, count, glu}, context);
    });
  }
  static int32_t launch(const void* args, const CudaContext& context) {
    return products(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
  }
  static int64_t workspace_bytes(const void* args) {
    const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
    return Kinds::each(a, [&](auto is) { return wide_bytes<typename decltype(is)::type>(a); });
  }
  static int32_t experts(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                         const ExpertPairs& pairs, const CudaContext& context) {
    return Kinds::each(*parts, [&](auto is) -> int32_t {
      return launch_wide_gather<typename decltype(is)::type>({parts, count, glu}, pairs, context);
    });
  }
  static int64_t experts_bytes(const MatmulArgs* parts, int64_t, const ExpertPairs& pairs) {
    return Kinds::each(*parts, [&](auto is) {
      return wide_gather_bytes<typename decltype(is)::type>(*parts, pairs);
    });
  }
};

template <class Kind>
struct KindIs {
  using type = Kind;
};

template <int kBits>
struct WideWidth {
  template <int kGroup>
  using Of = WideBits<kBits, kGroup>;
};

/// Affine codes in the order mma_k512.
template <template <int> class Format>
struct FlatKinds {
  template <class F>
  static auto each(const MatmulArgs& a, F f) {
    return a.group_size == 64 ? f(KindIs<FlatWide<Format<64>>>{})
                              : f(KindIs<FlatWide<Format<128>>>{});
  }
};
/// The unit formats without biases.
template <class Format>
struct UnitKinds {
  template <class F>
  static auto each(const MatmulArgs&, F f) {
    return f(KindIs<UnitWide<Format>>{});
  }
};
/// Affine codes of 4 or 8 bits, dots as in launch_affine_units_together().
template <class Type, int kBits>
struct AffineKinds {
  template <class F>
  static auto each(const MatmulArgs& a, F f) {
    return a.group_size > 32 ? f(KindIs<UnitWide<AffineUnits<Type, kBits, 1>>>{})
                             : f(KindIs<UnitWide<AffineUnits<Type, kBits, 2>>>{});
  }
};

}  // namespace
}  // namespace stepless::kernels::sm90
