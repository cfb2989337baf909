// Host side of attention by teams.
#pragma once
#include "kernels/cuda/any/carveout.cuh"
#include "kernels/cuda/sm80/attention_team.cuh"

namespace stepless::kernels::sm80 {

/// Clusters came with programmatic launches. What else is not served goes to attend_few: pages that
/// do not hold whole chunks, heads of other sizes, partly turned, or with capped scores.
static bool fits_team(const AttnSlab& slab, const TurnedRows& rows, const CudaContext& context) {
  const AttnArgs& a = slab.args;
  const int64_t dim = a.cache.k_dim;
  return context.early_start && slab.whole_pages && (dim == 64 || dim == 128) &&
         a.cache.v_dim == dim && rows.q.pairs == dim / 2 && a.softcap == 0.0f &&
         a.heads <= kTeamHeads * a.cache.kv_heads && a.y_stride % 4 == 0;
}

template <int kDim>
static TeamPlan team_plan(int heads, int members, int blocks) {
  TeamPlan plan{};
  plan.heads = heads, plan.members = members;
  const int team = members * blocks;
  const int all = heads * kLotsOfHead;
  int room = 0;
  for (int active = 1; active <= team; ++active) {
    const int lots = (all + active - 1) / active, shares = active < team ? active : kShares;
    plan.lots[active] = lots, plan.per_lots[active] = (1u << 22) / static_cast<unsigned>(lots) + 1;
    room = shares * lots > room ? shares * lots : room;
  }
  plan.sums = (TeamShared<kDim>::end(heads) + 15) / 16 * 16;
  plan.values = plan.sums + (kShares * heads * 8 + 15) / 16 * 16;
  plan.end = plan.values + room * (kDim / kLotsOfHead) * 4;
  return plan;
}

/// How a tile's blocks are shaped, members and blocks.
struct TeamShape {
  int members, blocks;
};
/// Blocks that find room beside a product's start while that still runs; others begin when it ends,
/// 2 us later. There is room for two members to a multiprocessor, which as one block go anywhere:
/// at eight rows of 960 positions a layer takes 49.5 us, 50.8 by twice as many blocks of one
/// member, 54.3 by as many; at 16 rows of 4096 118, by those 139. With more rows than 16 blocks of
/// one are better (32 rows of 4096: 190 us, by two 193). Figures of an H200.
static TeamShape team_shape(int64_t tiles, int64_t rows, const CudaContext& context) {
  const int members = rows <= 16 ? 2 : 1, most = kMostTeam / members;
  const int64_t fit = context.multiprocessors / tiles, least = members == 2 && rows <= 8 ? 1 : 2;
  return {members, static_cast<int>(fit < least ? least : fit < most ? fit : most)};
}

template <DType type, int kDim>
static cudaError_t launch_team(const AttnSlab& slab, const TurnedRows& rows,
                               const CudaContext& context) {
  const AttnArgs& a = slab.args;
  const auto kernel = attend_team<type, kDim>;
  const auto set = [&](cudaFuncAttribute attribute, int value) {
    return cudaFuncSetAttribute(kernel, attribute, value);
  };
  cudaError_t error = take_all_shared(kernel);
  if (error == cudaSuccess) error = set(cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  cudaLaunchConfig_t config{};
  config.stream = stream_of(context);
  config.attrs = attributes;
  config.numAttrs = 2;
  TeamShape shape = team_shape(a.cache.kv_heads * slab.rows, slab.rows, context);
  config.blockDim = dim3(static_cast<unsigned>(kAttnThreads * shape.members));
  TeamPlan plan{};
  for (int fit = 0; fit == 0; shape.blocks /= 2) {  // there may be no room for a large team
    const auto blocks = static_cast<unsigned>(shape.blocks);
    plan =
        team_plan<kDim>(static_cast<int>(a.heads / a.cache.kv_heads), shape.members, shape.blocks);
    attributes[1].val.clusterDim = {1, 1, blocks};
    config.gridDim =
        dim3(static_cast<unsigned>(a.cache.kv_heads), static_cast<unsigned>(slab.rows), blocks);
    config.dynamicSmemBytes = static_cast<std::size_t>(plan.end * shape.members);
    error = set(cudaFuncAttributeMaxDynamicSharedMemorySize, plan.end * shape.members);
    if (error != cudaSuccess || shape.blocks <= 8) break;
    error = cudaOccupancyMaxActiveClusters(&fit, kernel, &config);
    if (error != cudaSuccess) return error;
  }
  if (error != cudaSuccess) return error;
  return cudaLaunchKernelEx(&config, kernel, slab, rows, plan);
}

}  // namespace stepless::kernels::sm80
