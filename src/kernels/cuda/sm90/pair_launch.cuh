// Host side of flat_pair.
#pragma once
#include "kernels/cuda/sm90/flat_pair.cuh"
#include "kernels/cuda/sm90/lone_launch.cuh"

namespace stepless::kernels::sm90 {

/// One block to each multiprocessor. What does not fit, or has another k: cudaErrorNotSupported.
template <class Kind, int kThreads, int kStages = 3, int kEarly = 1>
static int32_t launch_pair(const FlatCall& call, const CudaContext& context) {
  const int k = static_cast<int>(call.first().k), chains = divided_up(k, kChainK);
  LonePlan plan{};
  plan.team = kPairBlocks, plan.row_ways = 1;
  plan.ways = divided_up(chains, kPairBlocks) * 2;
  if ((plan.ways + 1) * 32 > kThreads || plan.ways > kMostPairWays) return cudaErrorNotSupported;
  const auto weights = lone_weights<Kind>(call);
  const int all = call.glu != nullptr ? divided_up(weights.one[0].n, kTileRows / 2)
                                      : weights.end[call.count - 1];
  const int teams = smaller(all, context.multiprocessors / kPairBlocks);
  plan.tiles = all / teams, plan.more = all % teams;
  plan.band = divided_up(all, teams);
  PairRoom room{};
  room.chains = chains;
  room.totals = plan.ways / 2 * LoneRoom::kSumBytes;
  room.total_bytes = PairRoom::kBarrierBytes + chains * LoneRoom::kSumBytes;
  room.rings = room.totals + divided_up(plan.band, kPairBlocks) * room.total_bytes;
  room.warp_bytes = Kind::kSideBytes + kStages * Kind::kUnitBytes;
  room.bytes = room.rings + plan.ways * room.warp_bytes;
  constexpr int kMostBytes = kRoomOfMultiprocessor - 1024;
  if (room.bytes > kMostBytes) return cudaErrorNotSupported;
  const int bytes = room.bytes > kMoreThanHalf ? room.bytes : kMoreThanHalf;
  const auto kernel = flat_pair<Kind, kStages, kEarly, kThreads>;
  cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMostBytes);
  if (error == cudaSuccess) error = take_all_shared(kernel);
  if (error != cudaSuccess) return error;
  const TeamLaunch started(teams * kPairBlocks, (plan.ways + 1) * 32, bytes, kPairBlocks, context);
  const MatmulArgs& a = call.first();
  return cudaLaunchKernelEx(&started.config, kernel, weights, static_cast<const uint8_t*>(a.x),
                            static_cast<int64_t>(a.x_stride * 2), static_cast<int>(a.m), plan,
                            room);
}

}  // namespace stepless::kernels::sm90
