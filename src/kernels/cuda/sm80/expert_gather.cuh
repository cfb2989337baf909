// Products of rows with the experts they were sent to, in one launch: flat_few for many weights.
// The blocks share a line of tiles, one weight's behind another's for every chunk of up to 16 pairs
// that read it; which weights those are, follows from ids that only the device knows. How a unit of
// weights is multiplied is the Part's: flat_gather.cuh, unit_gather.cuh. The order of summation is
// that of a product alone, so that a pair has the bits of its row alone.
#pragma once
#include "kernels/cuda/sm80/expert_pairs.cuh"
#include "kernels/cuda/sm80/flat_launch.cuh"

namespace stepless::kernels::sm80 {

struct GatherPlan {
  ExpertPairs pairs;
  uint8_t* lists;  // of sort_experts(); null: every block sorts for itself, which few pairs allow
  int64_t code_bytes[kMostTogether], scale_bytes[kMostTogether];  // of an expert
  int chain_ways, row_ways;                                       // warps along k and along rows
  int band;                   // tiles between two meetings, all of one chunk
  int tiles;                  // of all weights of an expert
  int partials_at, lists_at;  // in shared memory, behind the rings
};

/// Tiles [begin, end) of the line, of one chunk, whose tiles begin at `origin`.
struct GatherBand {
  int begin, end, origin;
  Chunk chunk;
};

/// Part: its Call; kCols, kStages, kThreads; bytes of a unit and of a warp's ring and sums; how
/// weights are copied, x is loaded and a unit multiplied.
template <class Part>
__global__ void __launch_bounds__(Part::kThreads, 1)
    gather_experts(const __grid_constant__ FlatWeights w, const __grid_constant__ GatherPlan plan,
                   const __grid_constant__ typename Part::Call call) {
  constexpr int kCols = Part::kCols, kStages = Part::kStages, kUnitBytes = Part::kUnitBytes;
  extern __shared__ __align__(128) uint8_t shared[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int chain0 = warp % plan.chain_ways, row_way = warp / plan.chain_ways;
  const int chains = (w.k + kChainK - 1) / kChainK, units = (w.k + kUnitK - 1) / kUnitK;
  const uint32_t ring = shared_address(shared) + warp * Part::kWarpBytes;

  const PairLists lists =
      lists_at(plan.lists != nullptr ? plan.lists : shared + plan.lists_at, plan.pairs.pairs);
  const int each = w.gated ? 2 : 1;  // a gate's tile and its partner are one block's
  int first = 0, end = 0;
  const auto band_at = [&](int begin) {
    GatherBand band{begin, begin, 0, {}};
    if (begin >= end) return band;
    const int chunk = begin / plan.tiles;
    band.origin = chunk * plan.tiles, band.chunk = lists.chunks[chunk];
    band.end = min(min(begin + plan.band, end), band.origin + plan.tiles);
    return band;
  };

  struct {  // where copies are: chains of this warp, their units, its tiles
    GatherBand band;
    int chain, run, tile;
  } ahead{};
  const auto settle = [&] {  // onto a unit that exists, or past the end
    while (ahead.band.begin < end) {
      if (ahead.chain >= chains)
        ahead.band = band_at(ahead.band.end), ahead.chain = chain0, ahead.run = 0;
      else if (ahead.run >= 2 || ahead.chain * 2 + ahead.run >= units)
        ahead.chain += plan.chain_ways, ahead.run = 0;
      else if (ahead.tile < ahead.band.end)
        return;
      else
        ahead.run += 1;
      ahead.tile = ahead.band.begin + row_way;
    }
  };
  int fill = 0;
  const auto copy_next = [&] {
    if (ahead.band.begin < end) {
      const TilePlace place = find_tile(w, ahead.tile - ahead.band.origin);
      const int64_t expert = ahead.band.chunk.expert;
      FlatWeight weight = w.one[place.weight];
      weight.codes += expert * plan.code_bytes[place.weight];
      weight.scales += expert * plan.scale_bytes[place.weight];
      weight.biases += expert * plan.scale_bytes[place.weight];
      Part::copy(weight, call, place.tile, ahead.chain * 2 + ahead.run, ring + fill * kUnitBytes,
                 lane);
      ahead.tile += plan.row_ways;
      if (ahead.tile >= ahead.band.end) settle();
    }
    commit_copies();
    fill = fill + 1 == kStages ? 0 : fill + 1;
  };
  const auto start = [&] {
    if (plan.lists == nullptr) sort_in_block(plan.pairs, kCols * 8, lists, shared);
    const int64_t items = static_cast<int64_t>(*lists.count) * plan.tiles / each;
    first = static_cast<int>(items * blockIdx.x / gridDim.x) * each;
    end = static_cast<int>(items * (blockIdx.x + 1) / gridDim.x) * each;
    ahead = {band_at(first), chain0, 0, first + row_way}, fill = 0;
    settle();
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) copy_next();
  };
  // Where each pair has a row of x, it is what experts made of others, and their ids are older: a
  // block begins with the ids it sees, and again should they be others when x is there.
  const bool early = plan.lists == nullptr && plan.pairs.per_row == 1;
  let_next_start();
  if (!early) wait_for_inputs();
  start();
  if (early) {
    wait_for_inputs();
    if (!are_sorted(plan.pairs, lists)) {
      wait_copies<0>();
      __syncthreads();
      start();
    }
  }

  Part part(w, call, ring, lane);
  uint32_t x[kCols][kSteps][8];
  int slot = 0, buffer = 0;
  for (GatherBand band = band_at(first); band.begin < end; band = band_at(band.end)) {
    float* const meeting = reinterpret_cast<float*>(shared + plan.partials_at) +
                           buffer * chains * plan.band * kCols * 128;
    const auto pair_of = [&](int column) { return lists.order[band.chunk.first + column]; };
    const uint8_t* rows[kCols];  // of x; null: none
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      const int column = c * 8 + (lane >> 2), per_row = static_cast<int>(plan.pairs.per_row);
      rows[c] = column < band.chunk.count ? call.x + pair_of(column) / per_row * call.x_row_bytes
                                          : nullptr;
    }
    for (int chain = chain0; chain < chains; chain += plan.chain_ways)
      for (int run = 0; run < 2 && chain * 2 + run < units; ++run) {
        const int k0 = (chain * 2 + run) * kUnitK;
        part.load_x(rows, k0, w.k, x);
        for (int tile = band.begin + row_way; tile < band.end; tile += plan.row_ways) {
          part.take_tile(w, call, tile - band.origin);
          float4* const mine = reinterpret_cast<float4*>(
              meeting + (chain * plan.band + tile - band.begin) * kCols * 128 + lane * 4);
          float acc[kCols][4];
#pragma unroll
          for (int c = 0; c < kCols; ++c) {
            const float4 v = run > 0 ? mine[c * 32] : make_float4(0, 0, 0, 0);
            acc[c][0] = v.x, acc[c][1] = v.y, acc[c][2] = v.z, acc[c][3] = v.w;
          }
          wait_copies<kStages - 2>();
          __syncwarp();
          const uint32_t unit = ring + slot * kUnitBytes;
          slot = slot + 1 == kStages ? 0 : slot + 1;
          part.add_unit(unit, w.k - k0, x, acc, copy_next);
#pragma unroll
          for (int c = 0; c < kCols; ++c)
            mine[c * 32] = make_float4(acc[c][0], acc[c][1], acc[c][2], acc[c][3]);
        }
      }
    __syncthreads();
    store_band<kCols>(w, band.chunk.count, pair_of, meeting, plan.band, band.begin - band.origin,
                      band.end - band.origin);
    buffer ^= 1;
  }
}

/// Up to so many pairs every block sorts them; else a launch in front does.
constexpr int kSortedByAll = 256;

[[maybe_unused]] static int64_t gather_bytes(const MatmulArgs*, int64_t, const ExpertPairs& pairs) {
  return kTicketBytes + list_bytes(pairs.pairs);
}

/// The warps' shares of the work, and the bytes of shared memory that takes; the lists are not set.
template <class Part>
static int plan_gather(GatherPlan& plan, const FlatWeights& w, int warps, int meeting_bytes,
                       int64_t lists) {
  const int chains = divided_up(w.k, kChainK), tile_bytes = chains * Part::kCols * 512;
  plan.chain_ways = divided_up(chains, divided_up(chains, warps));
  plan.row_ways = warps / plan.chain_ways;
  const int step = plan.row_ways * (w.gated ? 2 : 1), most = meeting_bytes / (2 * tile_bytes);
  plan.band = most > step ? most / step * step : step;
  if (plan.band > plan.tiles) plan.band = plan.tiles;
  plan.partials_at = plan.chain_ways * plan.row_ways * Part::kWarpBytes;
  plan.lists_at = plan.partials_at + 2 * plan.band * tile_bytes;
  return plan.lists_at + static_cast<int>(lists);
}

/// Bytes of one row of an expert's weight.
struct RowBytes {
  int64_t codes, scales;
};

template <class Part>
static cudaError_t launch_gather(const FlatCall& call, const typename Part::Call& x,
                                 const ExpertPairs& pairs, RowBytes row, const CudaContext& context,
                                 int meeting_bytes) {
  static_assert(Part::kThreads / 32 * Part::kWarpBytes >= sort_bytes(Part::kThreads),
                "the sort's scratch");
  const FlatWeights weights = weights_of(call, 1);
  GatherPlan plan{};
  plan.pairs = pairs;
  plan.tiles = weights.end[call.count - 1];
  for (int64_t i = 0; i < call.count; ++i) {
    plan.code_bytes[i] = call.parts[i].n * row.codes;
    plan.scale_bytes[i] = call.parts[i].n * row.scales;
  }
  int device = 0, most = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error == cudaSuccess && pairs.pairs > kSortedByAll) {
    plan.lists = context.workspace + kTicketBytes;
    error =
        launch_grid(sort_experts, {1, kSortThreads}, context, pairs, Part::kCols * 8, plan.lists);
  }
  if (error != cudaSuccess) return error;
  const int64_t lists = plan.lists == nullptr ? list_bytes(pairs.pairs) : 0;
  int warps = Part::kThreads / 32, bytes = 0;
  for (; warps > 0; warps /= 2, meeting_bytes /= 2) {
    bytes = plan_gather<Part>(plan, weights, warps, meeting_bytes, lists);
    if (bytes <= most) break;  // else a smaller card, or a long k
  }
  const int64_t tiles = pairs.pairs * plan.tiles;  // at most
  const int blocks =
      tiles < context.multiprocessors ? static_cast<int>(tiles) : context.multiprocessors;
  return launch(gather_experts<Part>, blocks, plan.chain_ways * plan.row_ways * 32, bytes, context,
                weights, plan, x);
}

}  // namespace stepless::kernels::sm80
