// Products of many rows with the experts they were sent to, by flat_wide's tiles, in any format: up
// to 128 pairs of one expert are the columns of a tile, 64 where an expert has no more left. Pairs
// are sorted by a launch in front, and a second one lays out their x; both, and the products, are
// launched for as many tiles as there may be, since only the device knows how many there are.
#pragma once
#include "kernels/cuda/sm80/expert_gather.cuh"
#include "kernels/cuda/sm90/flat_wide.cuh"

namespace stepless::kernels::sm90 {

struct WideGatherPlan {
  ExpertPairs pairs;
  uint8_t* lists;  // of sort_experts()
  uint8_t* x;      // (chunk, unit), a chunk's units as close as its columns allow
  int64_t code_bytes[kMostTogether], scale_bytes[kMostTogether];  // of an expert
  int blocks;                                                     // of an expert's outputs
  int units;
  int64_t chunk_bytes;
};

/// Calls f(columns) with the tile's for a chunk: half of the most where those are enough.
template <class F>
static __device__ __forceinline__ void with_columns(const Chunk& own, F f) {
  if (own.count > kWideCols / 2)
    f(std::integral_constant<int, kWideCols>{});
  else
    f(std::integral_constant<int, kWideCols / 2>{});
}

/// A warp makes 8 columns of a unit.
template <class Kind>
static __global__ void __launch_bounds__(256)
    prepare_experts(const __grid_constant__ WideGatherPlan plan, const uint8_t* x,
                    int64_t x_row_bytes, int k) {
  constexpr int kBlocks = kWideCols / 8;
  begin_early();
  const PairLists lists = lists_at(plan.lists, plan.pairs.pairs);
  const int item = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  const int block = item % kBlocks, unit = item / kBlocks % plan.units;
  const int chunk = item / kBlocks / plan.units, column = block * 8 + threadIdx.x % 32 / 4;
  if (chunk >= *lists.count) return;
  const Chunk own = lists.chunks[chunk];
  const uint8_t* row = nullptr;
  if (column < own.count)
    row = x + lists.order[own.first + column] / plan.pairs.per_row * x_row_bytes;
  with_columns(own, [&](auto columns) {
    constexpr int kCols = decltype(columns)::value;
    if (block < kCols / 8)
      Kind::template prepare<kCols>(
          row, unit, k, block,
          plan.x + chunk * plan.chunk_bytes + unit * WideUnit<kCols, Kind>::kBytes);
  });
}

/// What a block computes at a time: 128 outputs of a chunk.
struct WideItem {
  int chunk, tile0;
  Chunk own;
};
/// Calls f(item) for each of this block's.
template <class F>
static __device__ __forceinline__ void each_item(const WideGatherPlan& plan, const PairLists& lists,
                                                 const F& f) {
  const int all = *lists.count * plan.blocks;
  for (int i = blockIdx.x; i < all; i += gridDim.x) {
    const int chunk = i / plan.blocks;
    f(WideItem{chunk, i % plan.blocks * (kWideOutputs / kTileRows), lists.chunks[chunk]});
  }
}

/// The weight that the i-th tile of an item belongs to, its expert's; returns the tile's number.
static __device__ __forceinline__ int find_weight(const FlatWeights& w, const WideGatherPlan& plan,
                                                  const WideItem& item, int i, FlatWeight& weight) {
  const TilePlace at = find_wide_tile(w, item.tile0 + i);
  weight = w.one[at.weight];
  weight.codes += item.own.expert * plan.code_bytes[at.weight];
  weight.scales += item.own.expert * plan.scale_bytes[at.weight];
  weight.biases += item.own.expert * plan.scale_bytes[at.weight];
  return at.tile;
}

template <class Kind>
static __global__ void __launch_bounds__(kWideBlock, 1)
    wide_gather(const __grid_constant__ FlatWeights w,
                const __grid_constant__ typename Kind::Call call,
                const __grid_constant__ WideGatherPlan plan) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t base = shared_address(shared);
  let_next_start();
  if (threadIdx.x == 0) WideRoom<Kind>::make_barriers(base);
  __syncthreads();
  wait_for_inputs();
  const PairLists lists = lists_at(plan.lists, plan.pairs.pairs);
  const WideSpan span{0, plan.units, w.k / kStepK};
  if (threadIdx.x >= kWideThreads) {
    bring<Kind>(base, [&](WideRings<Kind>& rings, int half) {
      each_item(plan, lists, [&](const WideItem& item) {
        if (half >= 0)
          return bring_weights(rings, call, half, span, [&](int i, FlatWeight& weight) {
            return find_weight(w, plan, item, i, weight);
          });
        with_columns(item.own, [&](auto columns) {
          bring_x<decltype(columns)::value>(rings, plan.x + item.chunk * plan.chunk_bytes, span);
        });
      });
    });
    return;
  }
  take_registers<232>();
  WideRings<Kind> rings{base};
  each_item(plan, lists, [&](const WideItem& item) {
    const int warp = threadIdx.x / 32;
    const int weight = find_wide_tile(w, item.tile0 + warp).weight;
    const Kind kind(call, weight, w.y_type != DType::f32, threadIdx.x % 32);
    with_columns(item.own, [&](auto columns) {
      WideTile<decltype(columns)::value, Kind> tile{rings, kind, totals_of<Kind>(shared)};
      tile.run(span, false);
      store_outputs(tile, w, item.tile0 + warp / 4 * 4, item.own.count,
                    [&](int column) { return lists.order[item.own.first + column]; });
    });
  });
}

/// Each expert's last chunk may be as small as one pair.
static int64_t most_chunks(const ExpertPairs& pairs) {
  const int64_t last = pairs.pairs < pairs.experts ? pairs.pairs : pairs.experts;
  return pairs.pairs / kWideCols + last;
}
static int64_t wide_lists_bytes(const ExpertPairs& pairs) {
  return (list_bytes(pairs.pairs) + 1023) / 1024 * 1024;
}
/// Of a chunk's x.
template <class Kind>
static int64_t wide_chunk_bytes(const MatmulArgs& a) {
  return (a.k + kUnitK - 1) / kUnitK * WideUnit<kWideCols, Kind>::kBytes;
}
template <class Kind>
static int64_t wide_gather_bytes(const MatmulArgs& a, const ExpertPairs& pairs) {
  return kTicketBytes + wide_lists_bytes(pairs) + most_chunks(pairs) * wide_chunk_bytes<Kind>(a);
}

/// The weights of a launch; there is an end for all that there may be.
static FlatWeights wide_weights(const FlatCall& call) {
  FlatWeights weights = weights_of(call, kWideOutputs / kTileRows);
  for (int64_t i = call.count; i < kMostTogether; ++i) weights.end[i] = weights.end[call.count - 1];
  return weights;
}

template <class Kind>
static cudaError_t launch_wide_gather(const FlatCall& call, const ExpertPairs& pairs,
                                      const CudaContext& context) {
  if (pairs.pairs == 0) return cudaSuccess;
  const MatmulArgs& a = call.first();
  constexpr int kBytes = WideRoom<Kind>::kBytes;
  const FlatWeights weights = wide_weights(call);
  WideGatherPlan plan{};
  plan.pairs = pairs;
  plan.lists = context.workspace + kTicketBytes;
  plan.x = plan.lists + wide_lists_bytes(pairs);
  const RowBytes row = Kind::row_bytes(a);
  for (int64_t i = 0; i < call.count; ++i) {
    plan.code_bytes[i] = call.parts[i].n * row.codes;
    plan.scale_bytes[i] = call.parts[i].n * row.scales;
  }
  plan.blocks = divided_up(weights.end[call.count - 1], kWideOutputs / kTileRows);
  plan.units = divided_up(static_cast<int>(a.k), kUnitK);
  plan.chunk_bytes = wide_chunk_bytes<Kind>(a);
  cudaError_t error =
      cudaFuncSetAttribute(wide_gather<Kind>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error == cudaSuccess)
    error = launch_grid(sort_experts, {1, kSortThreads}, context, pairs, kWideCols, plan.lists);
  if (error != cudaSuccess) return error;
  const int64_t chunks = most_chunks(pairs), warps = chunks * plan.units * (kWideCols / 8);
  error =
      launch_grid(prepare_experts<Kind>, {static_cast<unsigned>((warps + 7) / 8), 256}, context,
                  plan, static_cast<const uint8_t*>(a.x), a.x_stride * 2, static_cast<int>(a.k));
  if (error != cudaSuccess) return error;
  const int64_t items = chunks * plan.blocks, most = context.multiprocessors;
  return launch_grid(wide_gather<Kind>,
                     {static_cast<unsigned>(items < most ? items : most), kWideBlock, kBytes},
                     context, weights, Kind::call_of(call), plan);
}

}  // namespace stepless::kernels::sm90
