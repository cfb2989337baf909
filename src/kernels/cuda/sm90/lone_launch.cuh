// Host side of flat_lone: how rows and k of a call go over blocks.
#pragma once
#include "kernels/cuda/any/carveout.cuh"
#include "kernels/cuda/any/eights.cuh"
#include "kernels/cuda/sm80/flat_launch.cuh"
#include "kernels/cuda/sm90/flat_lone.cuh"

namespace stepless::kernels::sm90 {

constexpr int kRoomOfMultiprocessor = 227 << 10, kAnyTeams = 1 << 20;
constexpr int kMostSlots = 32;  // a lane makes the barriers of one
// With so much there is one block to a multiprocessor. Kernels of a step start early, wherever
// there is room: two blocks of a grid side by side leave other multiprocessors idle, and take twice
// as long (a step of 3 billion weights at one row: 1.9 ms instead of 1.4 on an H200).
constexpr int kMoreThanHalf = 114 << 10;

/// What blocks are made of: warps that multiply, at most; blocks for each multiprocessor, into how
/// many shares they cut it, and how many may share rows.
struct LoneShape {
  int warps, per_sm, shares, most_team;
};

struct LoneGrid {
  LonePlan plan;
  LoneRoom room;
  int blocks, threads, most_bytes;
};

static int shared_bytes_of(const LoneGrid& grid, const LoneShape& shape) {
  return shape.per_sm > 1 || grid.room.bytes > kMoreThanHalf ? grid.room.bytes : kMoreThanHalf;
}

/// `warp_bytes`: of its ring and beside it; `normed`: rows of x that are made.
static LoneRoom lone_room(int k, const LonePlan& plan, int rounds, int warp_bytes, int normed) {
  LoneRoom room{};
  room.chains = divided_up(k, kChainK);
  room.own_chains = rounds * divided_up(plan.ways, 2);
  room.hand_bytes = divided_up(room.own_chains * (LoneRoom::kSumBytes + 8) + 8, 128) * 128;
  room.total_bytes = room.chains * LoneRoom::kSumBytes + 128;
  room.totals = plan.slots * room.hand_bytes;
  room.rings = room.totals + plan.slots / plan.team * room.total_bytes;
  room.warp_bytes = warp_bytes + NormedUnit::kSpareBytes(normed);
  const int warps = plan.ways * plan.row_ways;
  room.squares = room.rings + warps * room.warp_bytes;
  room.bytes = room.squares + (normed > 0 ? warps * NormedUnit::kSquaresBytes : 0);
  return room;
}

static LoneGrid lone_grid(const FlatCall& call, const CudaContext& context, LoneShape shape,
                          int warp_bytes, int most_teams, int normed) {
  const int k = static_cast<int>(call.first().k), units = k / kUnitK;
  const bool gated = call.glu != nullptr;
  LonePlan plan{};
  const int wish = divided_up(units, shape.warps);
  plan.team = smaller(wish, shape.most_team);
  const int rounds = divided_up(units, shape.warps * plan.team);
  plan.ways = divided_up(units, rounds * plan.team);
  if (plan.team > 1 || rounds > 1) plan.ways += plan.ways % 2;  // a chain is one block's
  const FlatWeights weights = weights_of(call, 1);
  const int all = gated ? divided_up(weights.one[0].n, kTileRows / 2) : weights.end[call.count - 1];
  const int places = context.multiprocessors * shape.per_sm / plan.team;
  const int teams = smaller(all, smaller(places, most_teams));
  plan.tiles = all / teams, plan.more = all % teams;
  const int tiles = divided_up(all, teams);
  plan.row_ways = plan.team > 1 ? 1 : smaller(shape.warps / plan.ways, tiles);
  if (plan.row_ways < 1) plan.row_ways = 1;
  const int most_bytes = kRoomOfMultiprocessor / shape.shares - 1024;
  // One round of k: slots go around, x stays. Several: as many tiles as there is room for.
  const int turn = plan.row_ways * plan.team, turns = divided_up(tiles, turn);
  plan.slots = smaller(rounds > 1 ? turns : divided_up(4, turn) + 1, turns) * turn;
  LoneRoom room = lone_room(k, plan, rounds, warp_bytes, normed);
  while (plan.slots > turn && (plan.slots > kMostSlots || room.bytes > most_bytes))
    plan.slots -= turn, room = lone_room(k, plan, rounds, warp_bytes, normed);
  plan.band = rounds > 1 ? plan.slots : divided_up(tiles, plan.slots) * plan.slots;
  plan.odd_turns = plan.band / plan.slots & 1;
  return {plan, room, teams * plan.team, (plan.ways * plan.row_ways + 1) * 32, most_bytes};
}

/// What serves a call within shared memory: a long k takes fewer warps.
static LoneGrid fitting_grid(const FlatCall& call, const CudaContext& context, LoneShape& shape,
                             int warp_bytes, int normed) {
  LoneGrid grid = lone_grid(call, context, shape, warp_bytes, kAnyTeams, normed);
  while (grid.room.bytes > grid.most_bytes && (shape.warps > 1 || shape.shares > 1)) {
    if (shape.shares > 1)
      shape.per_sm = shape.shares = 1;
    else
      shape.warps /= 2;
    grid = lone_grid(call, context, shape, warp_bytes, kAnyTeams, normed);
  }
  return grid;
}

/// What x is the norm of, where flat_lone can make it: all of k is a block's, 256 to a warp.
template <DType type>
static bool norm_of(const AddArgs& add, const NormArgs& norm, const FlatCall& call,
                    LoneNorm& made) {
  const MatmulArgs& x = call.first();
  bool can = add.type == type && add.b_type == type && add.y_type == type && norm.x_type == type &&
             norm.y_type == type && norm.weight_type == type && norm.groups == 1 && norm.k == x.k &&
             x.k % kUnitK == 0 && x.m <= NormedUnit::kRows && add.rows == x.m;
  can = can && in_sixteens(add.a, add.a_stride) && in_sixteens(add.b, add.b_stride) &&
        in_sixteens(add.y, add.y_stride) && norm.weight != nullptr && in_sixteens(norm.weight, 0);
  const auto bytes = [](const void* p) { return static_cast<const uint8_t*>(p); };
  made = {bytes(add.a),       bytes(add.b),
          norm.weight,        static_cast<uint8_t*>(add.y),
          add.a_stride * 2,   add.b_stride * 2,
          add.y_stride * 2,   norm.epsilon,
          norm.weight_offset, 1.0 / static_cast<double>(norm.k)};
  return can;
}

/// A launch of clusters of `team` blocks. It stays where it is made: the configuration points to
/// it.
struct TeamLaunch {
  cudaLaunchAttribute attributes[2]{};
  cudaLaunchConfig_t config{};

  TeamLaunch(int blocks, int threads, int shared_bytes, int team, const CudaContext& context) {
    attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[0].val.programmaticStreamSerializationAllowed = context.early_start ? 1 : 0;
    attributes[1].id = cudaLaunchAttributeClusterDimension;
    attributes[1].val.clusterDim.x = static_cast<unsigned>(team);
    attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
    config.stream = stream_of(context);
    config.attrs = attributes;
    config.numAttrs = team > 1 ? 2 : 1;
  }
  TeamLaunch(const TeamLaunch&) = delete;
  TeamLaunch& operator=(const TeamLaunch&) = delete;
};

template <class Kind>
static typename Kind::Weights lone_weights(const FlatCall& call) {
  auto weights = weights_as<typename Kind::Weights>(call);
  for (int64_t i = call.glu != nullptr ? 0 : call.count; i < kMostTogether; ++i)
    weights.end[i] = 0x7fffffff;  // no tile is of weights behind it
  return weights;
}

/// kTeam: whether blocks share rows; kThreads, kBlocks: what __launch_bounds__ is told. `norm`:
/// what x is made of.
template <class Kind, int kTogether, bool kTeam, int kThreads, int kBlocks, int kStages = 3>
static int32_t launch_lone(const FlatCall& call, const CudaContext& context, LoneShape shape,
                           const LoneNorm& norm = {}) {
  constexpr int kWarpBytes = Kind::kSideBytes + kStages * Kind::kUnitBytes;
  const int normed = norm.a != nullptr ? static_cast<int>(call.first().m) : 0;
  LoneGrid grid = fitting_grid(call, context, shape, kWarpBytes, normed);
  if (norm.a != nullptr && (grid.plan.team > 1 || grid.plan.ways * kUnitK != call.first().k))
    return cudaErrorNotSupported;
  const auto kernel = flat_lone<Kind, kStages, kTogether, kTeam, kThreads, kBlocks>;
  cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           grid.most_bytes > kMoreThanHalf ? grid.most_bytes : kMoreThanHalf);
  if (error == cudaSuccess) error = take_all_shared(kernel);
  if (error != cudaSuccess) return error;
  TeamLaunch started(grid.blocks, grid.threads, shared_bytes_of(grid, shape), grid.plan.team,
                     context);
  cudaLaunchConfig_t& config = started.config;
  // A cluster lies in one group of multiprocessors, whose number need not be a multiple of it.
  int fit = 0;
  if (grid.plan.team > 2) error = cudaOccupancyMaxActiveClusters(&fit, kernel, &config);
  if (error != cudaSuccess) return error;
  if (fit > 0 && fit < grid.blocks / grid.plan.team) {
    grid = lone_grid(call, context, shape, kWarpBytes, fit, normed);
    config.gridDim = dim3(static_cast<unsigned>(grid.blocks));
    config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes_of(grid, shape));
  }
  const auto weights = lone_weights<Kind>(call);
  const MatmulArgs& a = call.first();
  return cudaLaunchKernelEx(&config, kernel, weights, static_cast<const uint8_t*>(a.x),
                            static_cast<int64_t>(a.x_stride * 2), static_cast<int>(a.m), grid.plan,
                            grid.room, norm);
}

}  // namespace stepless::kernels::sm90
