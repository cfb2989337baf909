// Host side of flat_lone: how rows and k of a call go over blocks.
#pragma once
#include "kernels/cuda/sm80/flat_launch.cuh"
#include "kernels/cuda/sm90/flat_lone.cuh"

namespace stepless::kernels::sm90 {

constexpr int kRoomOfMultiprocessor = 227 << 10, kAnyTeams = 1 << 20;
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

static LoneRoom lone_room(int k, const LonePlan& plan, int rounds, int stages) {
  LoneRoom room{};
  room.chains = divided_up(k, kChainK);
  room.own_chains = rounds * divided_up(plan.ways, 2);
  room.hand_bytes = divided_up(room.own_chains * (LoneRoom::kSumBytes + 8) + 8, 128) * 128;
  room.total_bytes = room.chains * LoneRoom::kSumBytes + 128;
  room.totals = plan.slots * room.hand_bytes;
  room.rings = room.totals + plan.slots / plan.team * room.total_bytes;
  room.warp_bytes = LoneRoom::kXBytes + stages * kUnitBytes;
  room.bytes = room.rings + plan.ways * plan.row_ways * room.warp_bytes;
  return room;
}

static LoneGrid lone_grid(const FlatCall& call, const CudaContext& context, LoneShape shape,
                          int stages, int most_teams) {
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
  LoneRoom room = lone_room(k, plan, rounds, stages);
  while (plan.slots > turn && room.bytes > most_bytes)
    plan.slots -= turn, room = lone_room(k, plan, rounds, stages);
  plan.band = rounds > 1 ? plan.slots : divided_up(tiles, plan.slots) * plan.slots;
  plan.odd_turns = plan.band / plan.slots & 1;
  return {plan, room, teams * plan.team, (plan.ways * plan.row_ways + 1) * 32, most_bytes};
}

/// What serves a call within shared memory: a long k takes fewer warps.
static LoneGrid fitting_grid(const FlatCall& call, const CudaContext& context, LoneShape& shape,
                             int stages) {
  LoneGrid grid = lone_grid(call, context, shape, stages, kAnyTeams);
  while (grid.room.bytes > grid.most_bytes && (shape.warps > 1 || shape.shares > 1)) {
    if (shape.shares > 1)
      shape.per_sm = shape.shares = 1;
    else
      shape.warps /= 2;
    grid = lone_grid(call, context, shape, stages, kAnyTeams);
  }
  return grid;
}

/// kTeam: whether blocks share rows; kThreads, kBlocks: what __launch_bounds__ is told.
template <int kGroup, int kTogether, bool kTeam, int kThreads, int kBlocks>
static int32_t launch_lone(const FlatCall& call, const CudaContext& context, LoneShape shape) {
  constexpr int kStages = 3;
  LoneGrid grid = fitting_grid(call, context, shape, kStages);
  const auto kernel = flat_lone<kGroup, kStages, kTogether, kTeam, kThreads, kBlocks>;
  cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           grid.most_bytes > kMoreThanHalf ? grid.most_bytes : kMoreThanHalf);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = context.early_start ? 1 : 0;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = static_cast<unsigned>(grid.plan.team);
  attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(grid.blocks));
  config.blockDim = dim3(static_cast<unsigned>(grid.threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes_of(grid, shape));
  config.stream = stream_of(context);
  config.attrs = attributes;
  config.numAttrs = kTeam ? 2 : 1;
  // A cluster lies in one group of multiprocessors, whose number need not be a multiple of it.
  int fit = 0;
  if (grid.plan.team > 2) error = cudaOccupancyMaxActiveClusters(&fit, kernel, &config);
  if (error != cudaSuccess) return error;
  if (fit > 0 && fit < grid.blocks / grid.plan.team) {
    grid = lone_grid(call, context, shape, kStages, fit);
    config.gridDim = dim3(static_cast<unsigned>(grid.blocks));
    config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes_of(grid, shape));
  }
  FlatWeights weights = weights_of(call, 1);
  for (int64_t i = call.glu != nullptr ? 0 : call.count; i < kMostTogether; ++i)
    weights.end[i] = 0x7fffffff;  // no tile is of weights behind it
  const MatmulArgs& a = call.first();
  return cudaLaunchKernelEx(&config, kernel, weights, static_cast<const uint8_t*>(a.x),
                            static_cast<int64_t>(a.x_stride * 2), static_cast<int>(a.m), grid.plan,
                            grid.room);
}

}  // namespace stepless::kernels::sm90
