// Host side of the flat family: which instance and geometry serve m, n and k. The order of
// summation is the same for all of them.
#pragma once
#include "kernels/cuda/sm80/flat_few.cuh"
#include "kernels/cuda/sm80/flat_many.cuh"

namespace stepless::kernels::sm80 {

constexpr int kManyRows = 64;

static int smaller(int a, int b) { return a < b ? a : b; }
static int divided_up(int a, int b) { return (a + b - 1) / b; }

/// The weights of one launch: of one x, m and k. With `glu` they are its gate and up.
struct FlatCall {
  const MatmulArgs* parts;
  int64_t count;
  const GluArgs* glu;  // null: none
  const MatmulArgs& first() const { return parts[0]; }
};

/// Every weight's tiles are counted in whole multiples, so that no group of them has two weights.
static FlatWeights weights_of(const FlatCall& call, int multiple) {
  FlatWeights all{};
  int tiles = 0;
  for (int64_t i = 0; i < call.count; ++i) {
    const MatmulArgs& a = call.parts[i];
    all.one[i] = {a.w, a.scales, a.biases, static_cast<int>(a.n), static_cast<int>(a.k)};
    all.y[i] = a.y, all.y_stride[i] = a.y_stride;
    const int own = divided_up(static_cast<int>(a.n), kTileRows);
    tiles += call.glu != nullptr ? own : divided_up(own, multiple) * multiple;
    all.end[i] = tiles;
  }
  all.k = static_cast<int>(call.first().k), all.y_type = call.first().y_type;
  all.gated = call.glu != nullptr;
  if (all.gated) all.glu = *call.glu;
  return all;
}

template <class... Parameters, class... Arguments>
static cudaError_t launch(void (*kernel)(Parameters...), int blocks, int threads, int shared_bytes,
                          const CudaContext& context, Arguments... arguments) {
  cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (error != cudaSuccess) return error;
  const Grid grid{static_cast<unsigned>(blocks), static_cast<unsigned>(threads),
                  static_cast<std::size_t>(shared_bytes)};
  return launch_grid(kernel, grid, context, arguments...);
}

struct FewShape {
  int warps;          // at most
  int meeting_bytes;  // for partial sums
  int per_sm;
};

template <int kCols, int kResident, int kGroup, int kStages, int kThreads, int kBlocks>
static cudaError_t launch_few(const FlatCall& call, const CudaContext& context, FewShape shape) {
  const MatmulArgs& a = call.first();
  const FlatWeights weights = weights_of(call, 1);
  const int chains = divided_up(static_cast<int>(a.k), kChainK), each = weights.gated ? 2 : 1;
  const int tiles = weights.end[call.count - 1];
  FewPlan plan{};
  plan.tiles = tiles;
  plan.chain_ways = divided_up(chains, divided_up(chains, shape.warps));
  const int blocks = smaller(tiles / each, context.multiprocessors * shape.per_sm);
  const int most_tiles = divided_up(tiles / each, blocks) * each;
  plan.row_ways = smaller(shape.warps / plan.chain_ways, most_tiles);
  if (plan.row_ways < 1) plan.row_ways = 1;
  const int tile_bytes = chains * kCols * 512, step = plan.row_ways * each;
  plan.band = most_tiles, plan.buffers = 1;
  if (most_tiles * tile_bytes > shape.meeting_bytes) {
    plan.buffers = 2;
    plan.band = shape.meeting_bytes / (2 * tile_bytes) / step * step;
    if (plan.band < step) plan.band = step;
  }
  const int warps = plan.chain_ways * plan.row_ways;
  const int bytes = warps * (kStages * kUnitBytes + kResident * kSteps * kCols * 64) +
                    plan.buffers * plan.band * tile_bytes;
  return launch(flat_few<kCols, kResident, kGroup, kStages, kThreads, kBlocks>, blocks, warps * 32,
                bytes, context, weights, static_cast<const uint8_t*>(a.x), a.x_stride * 2,
                static_cast<int>(a.m), plan);
}

template <int kTeam, int kWarpCols, int kGroup, int kStages, int kTeams>
static cudaError_t launch_many(const FlatCall& call, const CudaContext& context) {
  const MatmulArgs& a = call.first();
  const FlatWeights weights = weights_of(call, kPairTiles);
  const int parts = divided_up(static_cast<int>(a.k), kPartK);
  const int pairs = weights.end[call.count - 1] / kPairTiles;
  int slots = context.multiprocessors / parts;
  if (slots < 1) slots = 1;
  slots = smaller(slots, pairs);
  constexpr int kBlocks = kTeam * kWarpCols;
  const int bytes = kPartSteps * kBlocks * (1024 + 64) + kTeams * kStages * kPairTiles * kUnitBytes;
  return launch(flat_many<kTeam, kWarpCols, kGroup, kStages, kTeams>, slots * parts,
                kTeam * kTeams * 32, bytes, context, weights, static_cast<const uint8_t*>(a.x),
                a.x_stride * 2, static_cast<int>(a.m), pairs,
                reinterpret_cast<float4*>(context.workspace + kTicketBytes),
                reinterpret_cast<unsigned*>(context.workspace));
}

}  // namespace stepless::kernels::sm80
