// Host side of flat_mid: how a call goes over blocks, and what the rows for m = 9..64 export.
#pragma once
#include "kernels/cuda/sm80/flat_formats.cuh"
#include "kernels/cuda/sm90/flat_mid.cuh"
#include "kernels/cuda/sm90/mid_dots.cuh"

namespace stepless::kernels::sm90 {
namespace {  // of each file its own

constexpr int kMidPairs = 2;  // of warpgroups
constexpr int kMostSharedBytes = 227 << 10;

/// x of a product, rows or operands, and where its gates leave those of the next one, if anywhere.
template <class Format>
struct MidInputs {
  const uint8_t* x;
  bool is_made;
  MidX<Format::kGroup> next;
};

/// How a call goes over blocks: every part of k has `slots` of them for each `ways` of columns.
struct MidGrid {
  int tiles;  // of 16 outputs; of a gate and its partner, 8 of each
  int parts, ways, slots;
};

template <int kCols>
MidGrid grid_of(const FlatCall& call, const CudaContext& context) {
  MidGrid grid{};
  for (int64_t i = 0; i < call.count; ++i)
    grid.tiles += divided_up(static_cast<int>(call.parts[i].n), kTileRows);
  if (call.glu != nullptr) grid.tiles = divided_up(static_cast<int>(call.first().n), kTileRows / 2);
  grid.parts = divided_up(static_cast<int>(call.first().k), kPartK);
  grid.ways = divided_up(static_cast<int>(call.first().m), kCols);
  const int slots = context.multiprocessors / (grid.parts * grid.ways);
  grid.slots = slots < 1 ? 1 : smaller(slots, divided_up(grid.tiles, kMidTiles));
  return grid;
}

/// Slots of gates that make operands have whole rounds.
MidPlan plan_of(const MidGrid& grid, bool makes_next) {
  const int step = makes_next ? kMidPairs : 1;
  const int wide = divided_up(grid.tiles, kMidTiles) / step;
  MidPlan plan{};
  plan.each = wide / grid.slots * step, plan.more = wide % grid.slots, plan.step = step;
  plan.tiles = grid.tiles, plan.parts = grid.parts, plan.ways = grid.ways;
  plan.blocks = grid.parts * grid.ways * grid.slots, plan.per_part = 65536 / grid.parts + 1;
  return plan;
}

/// Where a few multiprocessors would be free, blocks keep them.
template <bool kInLine>
dim3 blocks_of(const MidGrid& grid, const CudaContext& context) {
  const auto parts = static_cast<unsigned>(grid.parts), ways = static_cast<unsigned>(grid.ways),
             slots = static_cast<unsigned>(grid.slots), blocks = parts * ways * slots;
  if constexpr (!kInLine) return {parts, ways, slots};
  const auto all = static_cast<unsigned>(context.multiprocessors);
  return context.early_start && blocks < all && blocks * 4 > all * 3 ? all : blocks;
}

template <int kCols, class Format, int kPairs = kMidPairs>
constexpr bool fits() {
  return MidRoom<kCols, kPairs, Format>::kBytes <= kMostSharedBytes;
}
/// Whether blocks have so many wide tiles that a third pair pays. Of 16 columns 4 bits then take
/// 16.5 us instead of 17.1 on an H200 (13824 x 5120), 72 instead of 90 (128256 x 3072); with three
/// tiles each 10.3 instead of 9.4 (3072 x 8192). Of 32 columns registers are short.
template <class Format>
bool takes_three_pairs(const MidGrid& grid, const MidInputs<Format>& inputs) {
  return divided_up(grid.tiles, kMidTiles) > 4 * grid.slots && inputs.next.at == nullptr;
}

template <int kCols, int kPairs, class Format, class Sums>
int32_t launch_as(const FlatCall& call, const MidInputs<Format>& inputs, const MidGrid& grid,
                  uint8_t* sums, const CudaContext& context) {
  using Room = MidRoom<kCols, kPairs, Format>;
  const MatmulArgs& a = call.first();
  const auto kernel = flat_mid<kCols, kPairs, Format, Sums>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Room::kMostBytes);
  if (error != cudaSuccess) return error;
  const bool makes_next = inputs.next.at != nullptr;
  MidPlan plan = plan_of(grid, makes_next);
  plan.x_is_made = inputs.is_made;
  const dim3 blocks = blocks_of<Room::kInLine>(grid, context);
  const std::size_t bytes = makes_next ? Room::kBytesWithGates : Room::kBytes;
  return launch_grid(kernel, {blocks, Room::kThreads, bytes}, context,
                     weights_as<typename MidKind<Format>::Weights>(call), inputs.x, a.x_stride * 2,
                     static_cast<int>(a.m), plan, inputs.next, reinterpret_cast<float4*>(sums),
                     reinterpret_cast<unsigned*>(context.workspace));
}

/// In front of what tells by itself there are the tickets of what is counted.
constexpr int64_t kTellingAt = 1 << 16;

/// Sums tell by themselves where all of them have a place among the tickets.
template <int kCols, class Format>
int32_t launch_mid(const FlatCall& call, const MidInputs<Format>& inputs,
                   const CudaContext& context) {
  const MidGrid grid = grid_of<kCols>(call, context);
  const int64_t bytes = int64_t{grid.tiles} * kTileRows * grid.parts * grid.ways * kCols * 4;
  uint8_t* const tickets = context.workspace;
  const auto launch = [&](auto sums, uint8_t* at) {
    using Sums = decltype(sums);
    if constexpr (kCols == 16 && fits<kCols, Format, 3>())
      if (takes_three_pairs(grid, inputs))
        return launch_as<kCols, 3, Format, Sums>(call, inputs, grid, at, context);
    return launch_as<kCols, kMidPairs, Format, Sums>(call, inputs, grid, at, context);
  };
  if (grid.parts == 1) return launch(StayingSums{}, nullptr);
  return kTellingAt + bytes <= kTicketBytes ? launch(TellingSums{}, tickets + kTellingAt)
                                            : launch(CountedSums{}, tickets + kTicketBytes);
}

/// Two pairs of warpgroups: on an H200 three or four with shorter rings gain 5 % where outputs are
/// many (128256 x 3072) and lose 3 to 20 % elsewhere. More than 48 rows go at once unless that
/// leaves multiprocessors little more than a tile's part each: by 32 5120 x 13824 takes 45 us
/// instead of 40, 128256 x 3072 209 instead of 176, but 3072 x 3072 12 instead of 13.5. What has no
/// room for so many columns takes 32. Calls launch<columns>().
template <class Format, class Launch>
int32_t choose(const FlatCall& call, const CudaContext& context, Launch launch) {
  const int64_t m = call.first().m;
  if (m <= 16) return launch.template operator()<16>();
  if (m <= 32) return launch.template operator()<32>();
  if constexpr (fits<48, Format>())
    if (m <= 48) return launch.template operator()<48>();
  if constexpr (fits<64, Format>()) {
    const MidGrid grid = grid_of<64>(call, context);
    if (divided_up(grid.tiles, kMidTiles) * grid.parts * 2 > context.multiprocessors * 3)
      return launch.template operator()<64>();
  }
  return launch.template operator()<32>();
}

template <class Format>
int32_t launch_product(const FlatCall& call, const MidInputs<Format>& inputs,
                       const CudaContext& context) {
  return choose<Format>(
      call, context, [&]<int kCols>() { return launch_mid<kCols, Format>(call, inputs, context); });
}

/// Of sums that are counted, whatever m.
int64_t sum_bytes(int64_t n, int64_t k) {
  return (n + 63) / 64 * 64 * ((k + kPartK - 1) / kPartK) * 64 * 4;
}
int64_t outputs_of(const FlatCall& call) {
  int64_t n = 0;
  for (int64_t i = 0; i < call.count; ++i) n += (call.parts[i].n + 63) / 64 * 64;
  return n;
}

template <class Format>
int32_t launch_rows(const FlatCall& call, const CudaContext& context) {
  return launch_product<Format>(call, {static_cast<const uint8_t*>(call.first().x), false, {}},
                                context);
}
template <template <int> class Format>
int32_t launch_groups(const FlatCall& call, const CudaContext& context) {
  return call.first().group_size == 64 ? launch_rows<Format<64>>(call, context)
                                       : launch_rows<Format<128>>(call, context);
}

/// What a row exports.
template <int32_t (*kLaunch)(const FlatCall&, const CudaContext&)>
struct MidEntry {
  static int32_t products(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                          const CudaContext& context) {
    return kLaunch({parts, count, glu}, context);
  }
  static int32_t launch(const void* args, const CudaContext& context) {
    return products(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
  }
  /// Behind the tickets are sums.
  static int64_t workspace_bytes(const void* args) {
    const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
    return kTicketBytes + sum_bytes(a.n, a.k);
  }
  static constexpr CudaEntry entry{
      .launch = launch, .workspace_bytes = workspace_bytes, .joined = {.products = products}};
};

/// Of groups of 64 and 128.
template <template <int> class Format>
using MidRow = MidEntry<launch_groups<Format>>;

/// Of a format whose groups have dots of their own.
template <class Units>
using MidDotsRow = MidEntry<launch_rows<MidDots<Units>>>;

/// Rows of affine codes beside 4 bits.
template <int kBits>
struct MidWidth {
  template <int kGroup>
  using Format = WideBits<kBits, kGroup>;
};

}  // namespace
}  // namespace stepless::kernels::sm90
