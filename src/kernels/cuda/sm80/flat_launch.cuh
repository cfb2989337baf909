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

/// Calls launch(FlatCall) for at most `rows` rows of x at a time.
template <class Launch>
static int32_t launch_slices(const FlatCall& all, int64_t rows, Launch launch) {
  MatmulArgs now[kMostTogether];
  for (int64_t i = 0; i < all.count; ++i) now[i] = all.parts[i];
  GluArgs gate = all.glu != nullptr ? *all.glu : GluArgs{};
  const int64_t m = now[0].m, y_size = now[0].y_type == DType::f32 ? 4 : 2;
  for (int64_t row = 0; row < m; row += rows) {
    for (int64_t i = 0; i < all.count; ++i) now[i].m = m - row < rows ? m - row : rows;
    const int32_t error = launch(FlatCall{now, all.count, all.glu != nullptr ? &gate : nullptr});
    if (error != cudaSuccess) return error;
    for (int64_t i = 0; i < all.count; ++i) {
      now[i].x = static_cast<const uint8_t*>(now[i].x) + rows * now[i].x_stride * 2;
      now[i].y = static_cast<uint8_t*>(now[i].y) + rows * now[i].y_stride * y_size;
    }
    gate.y = static_cast<uint8_t*>(gate.y) + rows * gate.y_stride * y_size;
  }
  return cudaSuccess;
}

struct FewShape {
  int warps;          // at most
  int meeting_bytes;  // for partial sums
  int per_sm;
};

/// How flat_few's warps divide the work, and the bytes of shared memory that takes.
struct FewGeometry {
  FewPlan plan;
  int blocks, warps, bytes;
};
static FewGeometry few_geometry(const FlatWeights& weights, int tiles, int columns, int warp_bytes,
                                const CudaContext& context, FewShape shape) {
  const int chains = divided_up(weights.k, kChainK), each = weights.gated ? 2 : 1;
  FewPlan plan{};
  plan.tiles = tiles;
  plan.chain_ways = divided_up(chains, divided_up(chains, shape.warps));
  const int blocks = smaller(tiles / each, context.multiprocessors * shape.per_sm);
  const int most_tiles = divided_up(tiles / each, blocks) * each;
  plan.row_ways = smaller(shape.warps / plan.chain_ways, most_tiles);
  if (plan.row_ways < 1) plan.row_ways = 1;
  const int tile_bytes = chains * columns * 512, step = plan.row_ways * each;
  plan.band = most_tiles, plan.buffers = 1;
  if (most_tiles * tile_bytes > shape.meeting_bytes) {
    plan.buffers = 2;
    plan.band = shape.meeting_bytes / (2 * tile_bytes) / step * step;
    if (plan.band < step) plan.band = step;
  }
  const int warps = plan.chain_ways * plan.row_ways;
  return {plan, blocks, warps, warps * warp_bytes + plan.buffers * plan.band * tile_bytes};
}

template <int kCols, int kResident, class Format, int kStages, int kThreads, int kBlocks>
static cudaError_t launch_few(const FlatCall& call, const CudaContext& context, FewShape shape) {
  const MatmulArgs& a = call.first();
  const FlatWeights weights = weights_of(call, 1);
  constexpr int kWarpBytes = kStages * Format::kUnitBytes;
  int device = 0, most = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error != cudaSuccess) return error;
  FewGeometry geometry{};
  for (; shape.warps > 0; shape.warps /= 2, shape.meeting_bytes /= 2) {
    geometry =
        few_geometry(weights, weights.end[call.count - 1], kCols, kWarpBytes, context, shape);
    if (geometry.bytes <= most) break;  // else a smaller card, or a long k
  }
  return launch(flat_few<kCols, kResident, Format, kStages, kThreads, kBlocks>, geometry.blocks,
                geometry.warps * 32, geometry.bytes, context, weights,
                static_cast<const uint8_t*>(a.x), a.x_stride * 2, static_cast<int>(a.m),
                geometry.plan);
}

template <int kTeam, int kWarpCols, class Format, int kStages, int kTeams>
static cudaError_t launch_many(const FlatCall& call, const CudaContext& context) {
  const MatmulArgs& a = call.first();
  const FlatWeights weights = weights_of(call, kPairTiles);
  const int parts = divided_up(static_cast<int>(a.k), kPartK);
  const int pairs = weights.end[call.count - 1] / kPairTiles;
  int slots = context.multiprocessors / parts;
  if (slots < 1) slots = 1;
  slots = smaller(slots, pairs);
  constexpr int kBlocks = kTeam * kWarpCols;
  const int bytes = kPartSteps * kBlocks * 1024 + kPartUnits * kBlocks * 512 +
                    kTeams * kStages * kPairTiles * kUnitBytes;
  return launch(flat_many<kTeam, kWarpCols, Format, kStages, kTeams>, slots * parts,
                kTeam * kTeams * 32, bytes, context, weights, static_cast<const uint8_t*>(a.x),
                a.x_stride * 2, static_cast<int>(a.m), pairs,
                reinterpret_cast<float4*>(context.workspace + kTicketBytes),
                reinterpret_cast<unsigned*>(context.workspace));
}

}  // namespace stepless::kernels::sm80
