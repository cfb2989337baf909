// y = x · wᵀ for m = 9..64 by warpgroups, in the order and with the bits of the flat kernels.
#include "kernels/cuda/sm80/flat_launch.cuh"
#include "kernels/cuda/sm90/flat_mid.cuh"

namespace stepless::kernels {
namespace {

using sm80::divided_up, sm80::FlatCall, sm80::FlatWeights, sm80::kPartK, sm80::kTileRows;

/// How a call goes over blocks: every part of k has `slots` of them for each `ways` of columns.
struct MidGrid {
  int tiles;  // of 16 outputs; of a gate and its partner, 8 of each
  int parts, ways, slots;
};

template <int kCols>
MidGrid grid_of(const FlatCall& call, const FlatWeights& weights, const CudaContext& context) {
  MidGrid grid{};
  grid.tiles =
      weights.gated ? divided_up(weights.one[0].n, kTileRows / 2) : weights.end[call.count - 1];
  grid.parts = divided_up(static_cast<int>(call.first().k), kPartK);
  grid.ways = divided_up(static_cast<int>(call.first().m), kCols);
  const int slots = context.multiprocessors / (grid.parts * grid.ways);
  grid.slots = slots < 1 ? 1 : sm80::smaller(slots, divided_up(grid.tiles, sm90::kMidTiles));
  return grid;
}

template <int kCols, int kPairs, int kGroup, int kStages, class Sums>
int32_t launch_as(const FlatCall& call, const FlatWeights& weights, const MidGrid& grid,
                  uint8_t* sums, const CudaContext& context) {
  using Room = sm90::MidRoom<kCols, kPairs, kGroup, kStages>;
  const MatmulArgs& a = call.first();
  const auto kernel = sm90::flat_mid<kCols, kPairs, kGroup, kStages, Sums>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Room::kBytes);
  if (error != cudaSuccess) return error;
  const int wide = divided_up(grid.tiles, sm90::kMidTiles);
  const sm90::MidPlan plan{wide / grid.slots, wide % grid.slots, grid.tiles};
  const dim3 blocks(static_cast<unsigned>(grid.parts), static_cast<unsigned>(grid.ways),
                    static_cast<unsigned>(grid.slots));
  return launch_grid(kernel, {blocks, Room::kThreads, Room::kBytes}, context, weights,
                     static_cast<const uint8_t*>(a.x), a.x_stride * 2, static_cast<int>(a.m), plan,
                     reinterpret_cast<float4*>(sums),
                     reinterpret_cast<unsigned*>(context.workspace));
}

/// In front of what tells by itself there are the tickets of what is counted.
constexpr int64_t kTellingAt = 1 << 16;

/// Sums tell by themselves where all of them have a place among the tickets.
template <int kCols, int kPairs, int kGroup, int kStages>
int32_t launch_mid(const FlatCall& call, const CudaContext& context) {
  const FlatWeights weights = sm80::weights_of(call, 1);
  const MidGrid grid = grid_of<kCols>(call, weights, context);
  const int64_t bytes = int64_t{grid.tiles} * kTileRows * grid.parts * grid.ways * kCols * 4;
  uint8_t* const tickets = context.workspace;
  const auto launch = [&](auto sums, uint8_t* at) {
    return launch_as<kCols, kPairs, kGroup, kStages, decltype(sums)>(call, weights, grid, at,
                                                                     context);
  };
  if (grid.parts == 1) return launch(sm90::StayingSums{}, nullptr);
  return kTellingAt + bytes <= kTicketBytes ? launch(sm90::TellingSums{}, tickets + kTellingAt)
                                            : launch(sm90::CountedSums{}, tickets + kTicketBytes);
}

/// Two pairs of warpgroups: on an H200 three or four with shorter rings gain 5 % where outputs are
/// many (128256 x 3072) and lose 3 to 20 % elsewhere. More than 48 rows go at once unless that
/// leaves multiprocessors little more than a tile's part each: by 32 5120 x 13824 takes 45 us
/// instead of 40, 128256 x 3072 209 instead of 176, but 3072 x 3072 12 instead of 13.5. Up to 32
/// rows rings of two leave attention room beside a block: with them a layer of 3 billion weights
/// took 1.2 us less at 32 rows. (With x by whole lines rings of three took .5 us less than two:
/// 67.2 and 67.7; not taken yet.)
template <int kGroup>
int32_t launch_rows(const FlatCall& call, const CudaContext& context) {
  const int64_t m = call.first().m;
  if (m <= 16) return launch_mid<16, 2, kGroup, 3>(call, context);
  if (m <= 32) return launch_mid<32, 2, kGroup, 2>(call, context);
  if (m <= 48) return launch_mid<48, 2, kGroup, 2>(call, context);
  const MidGrid grid = grid_of<64>(call, sm80::weights_of(call, 1), context);
  return divided_up(grid.tiles, sm90::kMidTiles) * grid.parts * 2 > context.multiprocessors * 3
             ? launch_mid<64, 2, kGroup, 2>(call, context)
             : launch_mid<32, 2, kGroup, 3>(call, context);
}

int32_t launch_together(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                        const CudaContext& context) {
  const FlatCall call{parts, count, glu};
  return call.first().group_size == 64 ? launch_rows<64>(call, context)
                                       : launch_rows<128>(call, context);
}

int32_t launch(const void* args, const CudaContext& context) {
  return launch_together(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
}

int64_t workspace_bytes(const void* args) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  const int64_t parts = (a.k + kPartK - 1) / kPartK, rows = (a.n + 63) / 64 * 64;
  return kTicketBytes + rows * parts * 64 * 4;
}

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_b4_bf16_m64n64_sm90) = {
    .launch = launch, .workspace_bytes = workspace_bytes, .joined = {.products = launch_together}};

}  // namespace stepless::kernels
