// Products of rows with the experts they were sent to, in one launch: flat_few for many weights.
// The blocks share a line of tiles, one weight's behind another's for every chunk of up to 16 pairs
// that read it; which weights those are, follows from ids that only the device knows. The order of
// summation is that of flat_units.cuh, so that a pair has the bits of its row alone.
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

template <int kCols, int kResident, class Format, int kStages>
struct Gather {
  static constexpr int kSumBytes = kCols * 64;  // of one step's offset sums
  static constexpr int kHeld = kResident * kSteps;
  static constexpr int kWarpBytes = kStages * Format::kUnitBytes + kHeld * kSumBytes;

  /// x of one run of units as operands, and its sums, which go to shared memory.
  static __device__ __forceinline__ void load_x(const uint8_t* x, const int64_t (&rows)[kCols],
                                                int k0, int k, uint32_t sums,
                                                uint32_t (&xf)[kCols][kHeld][8]) {
    const int lane = threadIdx.x & 31, t = lane & 3;
    uint4 p[kCols][kHeld], q[kCols][kHeld];
#pragma unroll
    for (int i = 0; i < kCols * kHeld; ++i) {
      const int c = i / kHeld, at = k0 + i % kHeld * kStepK;
      p[c][i % kHeld] = q[c][i % kHeld] = make_uint4(0, 0, 0, 0);
      if (rows[c] < 0 || at >= k) continue;
      const uint8_t* from = x + rows[c] + (at + t * 16) * 2;
      p[c][i % kHeld] = load_input16(from), q[c][i % kHeld] = load_input16(from + 16);
    }
    __syncwarp();  // nobody reads the sums of the run before any more
#pragma unroll
    for (int i = 0; i < kCols * kHeld; ++i) {
      const int c = i / kHeld, step = i % kHeld;
      float s[4];
      Format::permute(p[c][step], q[c][step], xf[c][step]);
      offset_sums(xf[c][step], s);
      if (lane < 4) store_sums(sums + step * kSumBytes + c * 64 + t * 16, s);
    }
    __syncwarp();
  }

  /// A unit's scales and codes, out of its slot of the ring.
  struct Unit {
    typename Format::Scales low, high;
    typename Format::Codes codes[kSteps];
    __device__ __forceinline__ explicit Unit(uint32_t slot) {
      const int lane = threadIdx.x & 31;
      const uint32_t row = slot + (lane >> 2) * Format::kRowBytes;
      low = Format::Scales::load(row), high = Format::Scales::load(row + 8 * Format::kRowBytes);
#pragma unroll
      for (int i = 0; i < kSteps; ++i) codes[i] = Format::load(row, i, lane & 3);
    }
  };

  /// Adds unit `at` of a run to its chains, two steps side by side as in flat_few.
  static __device__ __forceinline__ void add_unit(const Unit& unit, int at, uint32_t sums,
                                                  const uint32_t (&xf)[kCols][kHeld][8],
                                                  float (&acc)[kCols][4]) {
    const uint32_t my_sums = sums + (threadIdx.x & 3) * 16;
#pragma unroll
    for (int pair = 0; pair < kSteps; pair += 2) {
      float s[2][kCols][4], dot[2][kCols][4];
#pragma unroll
      for (int i = 0; i < 2 * kCols; ++i)
        load_sums(my_sums + (at * kSteps + pair + i % 2) * kSumBytes + i / 2 * 64, s[i % 2][i / 2]);
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          uint32_t a[4];
          Format::to_operand(unit.codes[pair + i], j, a);
#pragma unroll
          for (int c = 0; c < kCols; ++c) {
            const uint32_t(&b)[8] = xf[c][at * kSteps + pair + i];
            float zero[4] = {0, 0, 0, 0};
            mma(dot[i][c],
                j > 0             ? dot[i][c]
                : Format::kOffset ? s[i][c]
                                  : zero,
                a, b[2 * j], b[2 * j + 1]);
          }
        }
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int c = 0; c < kCols; ++c)
          add_step(acc[c], dot[i][c], s[i][c],
                   {unit.low.scale(pair + i), unit.high.scale(pair + i), unit.low.bias(pair + i),
                    unit.high.bias(pair + i)});
    }
  }
};

/// Row r of a band's tile in one column: the parts of two chains each, in order.
template <int kCols>
static __device__ float gathered_total(const float* meeting, int chains, int chain_floats, int tile,
                                       int r, int column) {
  const float* at = meeting + (tile * kCols + column / 8) * 128 +
                    ((r & 7) * 4 + (column & 7) / 2) * 4 + (r >= 8 ? 2 : 0) + (column & 1);
  float total = 0;
  for (int chain = 0; chain < chains; chain += 2, at += 2 * chain_floats) {
    const float part = chain + 1 < chains ? at[0] + at[chain_floats] : at[0];
    total = chain == 0 ? part : total + part;
  }
  return total;
}

template <int kCols>
static __device__ void store_band(const FlatWeights& w, const GatherPlan& plan,
                                  const GatherBand& band, const int* order, const float* meeting) {
  const int each = w.gated ? 2 : 1, chains = (w.k + kChainK - 1) / kChainK;
  const int chain_floats = plan.band * kCols * 128;
  const int rows = (band.end - band.begin) / each * kTileRows;
  for (int i = threadIdx.x; i < rows * band.chunk.count; i += blockDim.x) {
    const int column = i / rows, tile = i % rows / kTileRows * each, r = i % kTileRows;
    const TilePlace place = find_tile(w, band.begin - band.origin + tile);
    const int out = place.tile * kTileRows + r, pair = order[band.chunk.first + column];
    if (out >= w.one[place.weight].n) continue;
    const auto total_of = [&](int at) {
      return gathered_total<kCols>(meeting, chains, chain_floats, at, r, column);
    };
    if (w.gated)
      store_gated(w, pair, out, total_of(tile), total_of(tile + 1));
    else
      store(w.y[place.weight], w.y_type, pair * w.y_stride[place.weight] + out, total_of(tile));
  }
}

template <int kCols, int kResident, class Format, int kStages, int kThreads>
__global__ void __launch_bounds__(kThreads, 1)
    flat_gather(const __grid_constant__ FlatWeights w, const __grid_constant__ GatherPlan plan,
                const uint8_t* x, int64_t x_row_bytes) {
  using Part = Gather<kCols, kResident, Format, kStages>;
  extern __shared__ __align__(128) uint8_t shared[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int chain0 = warp % plan.chain_ways, row_way = warp / plan.chain_ways;
  const int chains = (w.k + kChainK - 1) / kChainK, units = w.k / kUnitK;
  const uint32_t ring = shared_address(shared) + warp * Part::kWarpBytes;
  const uint32_t sums = ring + kStages * Format::kUnitBytes;

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

  struct {  // where copies are: chains of this warp, resident runs of units, its tiles, units
    GatherBand band;
    int chain, run, tile, unit;
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
        ahead.run += kResident;
      ahead.tile = ahead.band.begin + row_way, ahead.unit = 0;
    }
  };
  int fill = 0;
  const auto copy_next = [&] {
    if (ahead.band.begin < end) {
      const TilePlace place = find_tile(w, ahead.tile - ahead.band.origin);
      const int64_t expert = ahead.band.chunk.expert, u = ahead.chain * 2 + ahead.run + ahead.unit;
      FlatWeight weight = w.one[place.weight];
      weight.codes += expert * plan.code_bytes[place.weight];
      weight.scales += expert * plan.scale_bytes[place.weight];
      weight.biases += expert * plan.scale_bytes[place.weight];
      Format::copy(weight, place.tile, static_cast<int>(u), ring + fill * Format::kUnitBytes, lane);
      if (++ahead.unit == kResident || u + 1 >= units) {
        ahead.unit = 0, ahead.tile += plan.row_ways;
        if (ahead.tile >= ahead.band.end) settle();
      }
    }
    commit_copies();
    fill = fill + 1 == kStages ? 0 : fill + 1;
  };
  const auto start = [&] {
    if (plan.lists == nullptr) sort_in_block(plan.pairs, kCols * 8, lists, shared);
    const int64_t items = static_cast<int64_t>(*lists.count) * plan.tiles / each;
    first = static_cast<int>(items * blockIdx.x / gridDim.x) * each;
    end = static_cast<int>(items * (blockIdx.x + 1) / gridDim.x) * each;
    ahead = {band_at(first), chain0, 0, first + row_way, 0}, fill = 0;
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

  uint32_t xf[kCols][Part::kHeld][8];
  int slot = 0, buffer = 0;
  for (GatherBand band = band_at(first); band.begin < end; band = band_at(band.end)) {
    float* const meeting = reinterpret_cast<float*>(shared + plan.partials_at) +
                           buffer * chains * plan.band * kCols * 128;
    int64_t rows[kCols];  // of x, in bytes; -1: none
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      const int column = c * 8 + (lane >> 2);
      rows[c] = column < band.chunk.count ? lists.order[band.chunk.first + column] /
                                                static_cast<int>(plan.pairs.per_row) * x_row_bytes
                                          : -1;
    }
    for (int chain = chain0; chain < chains; chain += plan.chain_ways)
      for (int run = 0; run < 2 && chain * 2 + run < units; run += kResident) {
        Part::load_x(x, rows, chain * kChainK + run * kUnitK, w.k, sums, xf);
        for (int tile = band.begin + row_way; tile < band.end; tile += plan.row_ways) {
          float4* const mine = reinterpret_cast<float4*>(
              meeting + (chain * plan.band + tile - band.begin) * kCols * 128 + lane * 4);
          float acc[kCols][4];
#pragma unroll
          for (int c = 0; c < kCols; ++c) {
            const float4 v = run > 0 ? mine[c * 32] : make_float4(0, 0, 0, 0);
            acc[c][0] = v.x, acc[c][1] = v.y, acc[c][2] = v.z, acc[c][3] = v.w;
          }
#pragma unroll
          for (int i = 0; i < kResident; ++i) {
            if (chain * 2 + run + i >= units) break;
            wait_copies<kStages - 2>();
            __syncwarp();
            const typename Part::Unit unit(ring + slot * Format::kUnitBytes);
            slot = slot + 1 == kStages ? 0 : slot + 1;
            copy_next();
            Part::add_unit(unit, i, sums, xf, acc);
          }
#pragma unroll
          for (int c = 0; c < kCols; ++c)
            mine[c * 32] = make_float4(acc[c][0], acc[c][1], acc[c][2], acc[c][3]);
        }
      }
    __syncthreads();
    store_band<kCols>(w, plan, band, lists.order, meeting);
    buffer ^= 1;
  }
}

/// Up to so many pairs every block sorts them; else a launch in front does.
constexpr int kSortedByAll = 256;

static int64_t gather_bytes(const MatmulArgs*, int64_t, const ExpertPairs& pairs) {
  return kTicketBytes + list_bytes(pairs.pairs);
}

/// The warps' shares of the work, and the bytes of shared memory that takes; the lists are not set.
template <class Part, int kCols>
static int plan_gather(GatherPlan& plan, const FlatWeights& w, int warps, int meeting_bytes,
                       int64_t lists) {
  const int chains = divided_up(w.k, kChainK), tile_bytes = chains * kCols * 512;
  plan.chain_ways = divided_up(chains, divided_up(chains, warps));
  plan.row_ways = warps / plan.chain_ways;
  const int step = plan.row_ways * (w.gated ? 2 : 1), most = meeting_bytes / (2 * tile_bytes);
  plan.band = most > step ? most / step * step : step;
  if (plan.band > plan.tiles) plan.band = plan.tiles;
  plan.partials_at = plan.chain_ways * plan.row_ways * Part::kWarpBytes;
  plan.lists_at = plan.partials_at + 2 * plan.band * tile_bytes;
  return plan.lists_at + static_cast<int>(lists);
}

template <int kCols, int kResident, class Format, int kStages, int kThreads>
static cudaError_t launch_gather(const FlatCall& call, const ExpertPairs& pairs,
                                 int64_t row_code_bytes, const CudaContext& context,
                                 int meeting_bytes) {
  using Part = Gather<kCols, kResident, Format, kStages>;
  static_assert(kThreads / 32 * Part::kWarpBytes >= sort_bytes(kThreads), "the sort's scratch");
  const MatmulArgs& a = call.first();
  const FlatWeights weights = weights_of(call, 1);
  GatherPlan plan{};
  plan.pairs = pairs;
  plan.tiles = weights.end[call.count - 1];
  for (int64_t i = 0; i < call.count; ++i) {
    plan.code_bytes[i] = call.parts[i].n * row_code_bytes;
    plan.scale_bytes[i] = call.parts[i].n * (a.k / a.group_size) * 2;
  }
  int device = 0, most = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error == cudaSuccess && pairs.pairs > kSortedByAll) {
    plan.lists = context.workspace + kTicketBytes;
    error = launch_grid(sort_experts, {1, kSortThreads}, context, pairs, kCols * 8, plan.lists);
  }
  if (error != cudaSuccess) return error;
  const int64_t lists = plan.lists == nullptr ? list_bytes(pairs.pairs) : 0;
  int warps = kThreads / 32, bytes = 0;
  for (; warps > 0; warps /= 2, meeting_bytes /= 2) {
    bytes = plan_gather<Part, kCols>(plan, weights, warps, meeting_bytes, lists);
    if (bytes <= most) break;  // else a smaller card, or a long k
  }
  const int64_t tiles = pairs.pairs * plan.tiles;  // at most
  const int blocks =
      tiles < context.multiprocessors ? static_cast<int>(tiles) : context.multiprocessors;
  return launch(flat_gather<kCols, kResident, Format, kStages, kThreads>, blocks,
                plan.chain_ways * plan.row_ways * 32, bytes, context, weights, plan,
                static_cast<const uint8_t*>(a.x), a.x_stride * 2);
}

/// One column of tiles serves 8 pairs, two serve 16: whatever experts have about on average. On an
/// H200 two columns are 5 % faster with eight warps of 193 registers than with twelve that spill.
template <class Format, int kStages = 3, int kWarps = 12, int kWideStages = 5>
static int32_t launch_experts(const FlatCall& call, const ExpertPairs& pairs,
                              int64_t row_code_bytes, const CudaContext& context) {
  if (pairs.pairs == 0) return cudaSuccess;
  return pairs.pairs <= 5 * pairs.experts ? launch_gather<1, 1, Format, kStages, kWarps * 32>(
                                                call, pairs, row_code_bytes, context, 48 << 10)
                                          : launch_gather<2, 1, Format, kWideStages, 256>(
                                                call, pairs, row_code_bytes, context, 80 << 10);
}

}  // namespace stepless::kernels::sm80
