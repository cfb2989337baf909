// Host side of the flat family: which instance and geometry serve m, n and k. The order of
// summation is the same for all of them.
#pragma once
#include "kernels/cuda/sm80/flat_few.cuh"
#include "kernels/cuda/sm80/flat_many.cuh"

namespace stepless::kernels::sm80 {

constexpr int kManyRows = 64;
constexpr int64_t kMostTickets = 1 << 16;  // in front of the workspace; zero between launches

static int smaller(int a, int b) { return a < b ? a : b; }
static int divided_up(int a, int b) { return (a + b - 1) / b; }

static FlatWeight weight_of(const MatmulArgs& a) {
  return {a.w, a.scales, a.biases, static_cast<int>(a.n), static_cast<int>(a.k)};
}

template <class... Parameters, class... Arguments>
static cudaError_t launch(void (*kernel)(Parameters...), int blocks, int threads, int shared_bytes,
                          const CudaContext& context, Arguments... arguments) {
  cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config.stream = static_cast<cudaStream_t>(context.stream);
  config.attrs = &early;
  config.numAttrs = context.early_start ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

struct FewShape {
  int warps;          // at most
  int meeting_bytes;  // for partial sums
  int per_sm;
};

template <int kCols, int kResident, int kGroup, int kStages, int kThreads, int kBlocks>
static cudaError_t launch_few(const MatmulArgs& a, const CudaContext& context, FewShape shape) {
  const int chains = divided_up(static_cast<int>(a.k), kChainK);
  const int tiles = divided_up(static_cast<int>(a.n), kTileRows);
  FewPlan plan{};
  plan.chain_ways = divided_up(chains, divided_up(chains, shape.warps));
  const int blocks = smaller(tiles, context.multiprocessors * shape.per_sm);
  const int most_tiles = divided_up(tiles, blocks);
  plan.row_ways = smaller(shape.warps / plan.chain_ways, most_tiles);
  if (plan.row_ways < 1) plan.row_ways = 1;
  const int tile_bytes = chains * kCols * 512;
  plan.band = most_tiles, plan.buffers = 1;
  if (most_tiles * tile_bytes > shape.meeting_bytes) {
    plan.buffers = 2;
    plan.band = shape.meeting_bytes / (2 * tile_bytes) / plan.row_ways * plan.row_ways;
    if (plan.band < plan.row_ways) plan.band = plan.row_ways;
  }
  const int warps = plan.chain_ways * plan.row_ways;
  const int bytes = warps * (kStages * kUnitBytes + kResident * kSteps * kCols * 64) +
                    plan.buffers * plan.band * tile_bytes;
  return launch(flat_few<kCols, kResident, kGroup, kStages, kThreads, kBlocks>, blocks, warps * 32,
                bytes, context, weight_of(a), static_cast<const uint8_t*>(a.x), a.x_stride * 2, a.y,
                a.y_stride, a.y_type, static_cast<int>(a.m), plan);
}

template <int kTeam, int kGroup, int kStages, int kTeams>
static cudaError_t launch_many(const MatmulArgs& a, const CudaContext& context) {
  const int parts = divided_up(static_cast<int>(a.k), kPartK);
  const int pairs = divided_up(static_cast<int>(a.n), kPairTiles * kTileRows);
  int slots = context.multiprocessors / parts;
  if (slots < 1) slots = 1;
  slots = smaller(slots, pairs);
  constexpr int kBlocks = kTeam * kWarpCols;
  const int bytes = kPartSteps * kBlocks * (1024 + 64) + kTeams * kStages * kPairTiles * kUnitBytes;
  return launch(flat_many<kTeam, kGroup, kStages, kTeams>, slots * parts, kTeam * kTeams * 32,
                bytes, context, weight_of(a), static_cast<const uint8_t*>(a.x), a.x_stride * 2, a.y,
                a.y_stride, a.y_type, static_cast<int>(a.m),
                reinterpret_cast<float4*>(context.workspace + kMostTickets * 4),
                reinterpret_cast<unsigned*>(context.workspace));
}

}  // namespace stepless::kernels::sm80
