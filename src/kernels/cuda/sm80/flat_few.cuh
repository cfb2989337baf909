// m = 1..16: a warp owns one chain of 512 k at a time, its x in registers, and walks over the
// block's row tiles behind a private ring of asynchronous copies: no barrier in the loop. The
// chains of a block meet once, in shared memory. A block reads whole rows, so that blocks never
// meet.
#pragma once
#include "kernels/cuda/sm80/flat_units.cuh"

namespace stepless::kernels::sm80 {

/// What flat_few, flat_lone and flat_mid ask of a format of weights; this is 4 bits, scales and x
/// of one type. Other widths: flat_formats.cuh.
template <int kGroup_, class Type_>
struct FourBitsOf {
  using Type = Type_;
  static constexpr int kBits = 4, kGroup = kGroup_;
  static constexpr int kRowBytes = sm80::kRowBytes, kUnitBytes = sm80::kUnitBytes;
  static constexpr int kCodeBytes = kUnitK / 2, kScaleBytes = kUnitK / kGroup * 2;
  static constexpr int kScalesAt = sm80::kScalesAt, kBiasesAt = sm80::kBiasesAt;
  using Scales = RowScales<kGroup, Type>;
  using Codes = StepCodes;
  using Sums = UnitSums<kGroup, Type>;
  static __device__ __forceinline__ uint32_t word_at(int t) {
    return Sums::word_at(t, kScalesAt, kBiasesAt);
  }
  /// Of a unit's x as operands.
  static __device__ __forceinline__ Sums sums_of(const uint32_t (*x)[8]) {
    return Sums::template of<kCodeOffset>(x);
  }
  static __device__ __forceinline__ void copy(const FlatWeight& w, int tile, int u, uint32_t to,
                                              int lane) {
    copy_unit<kGroup>(w, tile, u, to, lane);
  }
  static __device__ __forceinline__ uint32_t lane_at(int t) { return static_cast<uint32_t>(t * 8); }
  /// `from`: a row's unit and lane_at(t).
  static __device__ __forceinline__ Codes load_from(uint32_t from, int step, int) {
    return load_codes(from, step, 0);
  }
  static __device__ __forceinline__ Codes load(uint32_t row, int step, int t) {
    return load_codes(row, step, t);
  }
  static __device__ __forceinline__ void to_operand(const Codes& c, int j, uint32_t (&a)[4]) {
    operand<kCodeOffset, Type>(c, j, a);
  }
  static __device__ __forceinline__ void permute(uint4 p, uint4 q, uint32_t (&b)[8]) {
    permute_x(p, q, b);
  }
};
template <int kGroup>
using FourBits = FourBitsOf<kGroup, Bf16>;
template <int kGroup>
using FourBitsOfHalves = FourBitsOf<kGroup, F16>;

struct FewPlan {
  int chain_ways, row_ways;  // warps along k and along rows
  int band;                  // row tiles between two meetings, a multiple of row_ways
  int buffers;               // of partial sums: 2 when there is more than one band
  int tiles;                 // of all weights
};

/// Where a warp is: bands, chains of its own, resident runs of units, tiles of its own, units.
struct FewCursor {
  int band0, chain, run, tile, unit;
};

/// A warp's first chain and row of tiles; how many chains, units and tiles there are.
struct FewShare {
  int chain0, row_way, chains, units, end;
};

/// Moves a cursor onto a unit that exists, or past the end.
template <int kResident>
static __device__ __forceinline__ void settle(FewCursor& c, const FewPlan& plan,
                                              const FewShare& own) {
  while (c.band0 < own.end) {
    if (c.chain >= own.chains)
      c.band0 += plan.band, c.chain = own.chain0, c.run = 0;
    else if (c.run == 2 || c.chain * 2 + c.run >= own.units)
      c.chain += plan.chain_ways, c.run = 0;
    else if (c.tile >= min(c.band0 + plan.band, own.end))
      c.run += kResident;
    else
      return;
    c.tile = c.band0 + own.row_way, c.unit = 0;
  }
}

/// Row r of a tile in one column, from where its chain 0 lies: parts of two chains, in order.
static __device__ __forceinline__ float sum_of_chains(const float* from, int chains, int stride) {
  float sum = 0;
  for (int chain = 0; chain < chains; chain += 2) {
    const float* const pair = from + chain * stride;
    const float part = chain + 1 < chains ? pair[0] + pair[stride] : pair[0];
    sum = chain == 0 ? part : sum + part;
  }
  return sum;
}

struct SameRow {
  __device__ int operator()(int column) const { return column; }
};

/// Adds up and stores tiles [begin, end) in m columns, which lie in `meeting` as accumulators, the
/// chains a band apart. row_of(column): of y.
template <int kCols, class RowOf>
static __device__ __forceinline__ void store_band(const FlatWeights& w, int m, RowOf row_of,
                                                  const float* meeting, int band, int begin,
                                                  int end) {
  constexpr int kTileFloats = kCols * 128;
  const int chains = (w.k + kChainK - 1) / kChainK, each = w.gated ? 2 : 1;
  const int rows = (end - begin) / each * kTileRows;
  for (int i = threadIdx.x; i < rows * m; i += blockDim.x) {
    const int column = i / rows, row = i % rows, r = row % kTileRows;
    const int tile = row / kTileRows * each, lane = (r & 7) * 4 + (column & 7) / 2;
    const float* const from = meeting + tile * kTileFloats + column / 8 * 128 + lane * 4 +
                              (r >= 8 ? 2 : 0) + (column & 1);
    const TilePlace place = find_tile(w, begin + tile);
    const int out = place.tile * kTileRows + r, part = place.weight;
    if (out >= w.one[part].n) continue;
    const float y = sum_of_chains(from, chains, band * kTileFloats);
    if (w.gated)
      store_gated(w, row_of(column), out, y,
                  sum_of_chains(from + kTileFloats, chains, band * kTileFloats));
    else
      store(w.y[part], w.y_type, row_of(column) * w.y_stride[part] + out, y);
  }
}

/// Format: how weights lie and become operands, FourBits or one of flat_formats.cuh. kResident:
/// units of 256 k whose x stays in registers, 2 (a chain) or 1.
template <int kCols, int kResident, class Format, int kStages, int kThreads, int kBlocks>
__global__ void __launch_bounds__(kThreads, kBlocks)
    flat_few(const __grid_constant__ FlatWeights w, const uint8_t* x, int64_t x_row_bytes, int m,
             FewPlan plan) {
  extern __shared__ __align__(128) uint8_t shared[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const int chain0 = warp % plan.chain_ways, row_way = warp / plan.chain_ways;
  const int chains = (w.k + kChainK - 1) / kChainK, units = w.k / kUnitK;
  // A gate's tile and its partner are one block's.
  const int each = w.gated ? 2 : 1;
  const int64_t items = plan.tiles / each;
  const int first = static_cast<int>(items * blockIdx.x / gridDim.x) * each;
  const int end = static_cast<int>(items * (blockIdx.x + 1) / gridDim.x) * each;
  constexpr int kWarpBytes = kStages * Format::kUnitBytes;
  const uint32_t ring = shared_address(shared) + warp * kWarpBytes;
  const uint32_t word = Format::word_at(t);
  float* const partials = reinterpret_cast<float*>(shared + (blockDim.x >> 5) * kWarpBytes);

  const FewShare own{chain0, row_way, chains, units, end};
  FewCursor ahead{first, chain0, 0, first + row_way, 0};
  settle<kResident>(ahead, plan, own);
  int fill = 0;
  const auto copy_next = [&] {
    if (ahead.band0 < end) {
      const int u = ahead.chain * 2 + ahead.run + ahead.unit;
      const TilePlace place = find_tile(w, ahead.tile);
      Format::copy(w.one[place.weight], place.tile, u, ring + fill * Format::kUnitBytes, lane);
      if (++ahead.unit == kResident || u + 1 >= units) {
        ahead.unit = 0, ahead.tile += plan.row_ways;
        if (ahead.tile >= min(ahead.band0 + plan.band, end)) settle<kResident>(ahead, plan, own);
      }
    }
    commit_copies();
    fill = fill + 1 == kStages ? 0 : fill + 1;
  };
  let_next_start();
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) copy_next();
  wait_for_inputs();

  uint32_t xf[kCols][kResident * kSteps][8];
  typename Format::Sums sums[kCols][kResident];
  int slot = 0, buffer = 0;
  for (int band0 = first; band0 < end; band0 += plan.band) {
    const int band_end = min(band0 + plan.band, end);
    float* const meeting = partials + buffer * chains * plan.band * kCols * 128;
    for (int chain = chain0; chain < chains; chain += plan.chain_ways)
      for (int run = 0; run < 2 && chain * 2 + run < units; run += kResident) {
        if (kResident == 1 || plan.chain_ways < chains || band0 == first) {
          const int k0 = chain * kChainK + run * kUnitK;
#pragma unroll
          for (int c = 0; c < kCols; ++c)
#pragma unroll
            for (int i = 0; i < kResident * kSteps; ++i) {
              uint4 p = make_uint4(0, 0, 0, 0), q = p;
              if (c * 8 + g < m && k0 + i * kStepK < w.k) {
                const uint8_t* from =
                    x + (c * 8 + g) * x_row_bytes + (k0 + i * kStepK + t * 16) * 2;
                p = load_input16(from), q = load_input16(from + 16);
              }
              Format::permute(p, q, xf[c][i]);
            }
#pragma unroll
          for (int c = 0; c < kCols; ++c)
#pragma unroll
            for (int i = 0; i < kResident; ++i) sums[c][i] = Format::sums_of(xf[c] + i * kSteps);
        }
        for (int tile = band0 + row_way; tile < band_end; tile += plan.row_ways) {
          float4* const mine = reinterpret_cast<float4*>(
              meeting + (chain * plan.band + tile - band0) * kCols * 128 + lane * 4);
          float acc[kCols][4];
#pragma unroll
          for (int c = 0; c < kCols; ++c) {
            float4 v = make_float4(0, 0, 0, 0);
            if (kResident == 1 && run == 1) v = mine[c * 32];
            acc[c][0] = v.x, acc[c][1] = v.y, acc[c][2] = v.z, acc[c][3] = v.w;
          }
#pragma unroll
          for (int unit = 0; unit < kResident; ++unit) {
            if (chain * 2 + run + unit >= units) break;
            wait_copies<kStages - 2>();
            __syncwarp();
            const uint32_t row = ring + slot * Format::kUnitBytes + g * Format::kRowBytes;
            slot = slot + 1 == kStages ? 0 : slot + 1;
            const auto low = Format::Scales::load(row);
            const auto high = Format::Scales::load(row + 8 * Format::kRowBytes);
            const uint32_t low_word = load_shared4(row + word);
            const uint32_t high_word = load_shared4(row + word + 8 * Format::kRowBytes);
            typename Format::Codes codes[kSteps];
            // Two steps side by side: a chain of products alone waits 33 cycles for each.
            float dot[kSteps][kCols][4];
#pragma unroll
            for (int i = 0; i < kSteps; ++i) codes[i] = Format::load(row, i, t);
            copy_next();
#pragma unroll
            for (int c = 0; c < kCols; ++c) sums[c][unit].add_to(acc[c], low_word, high_word);
#pragma unroll
            for (int i0 = 0; i0 < kSteps; i0 += 2) {
#pragma unroll
              for (int j = 0; j < 4; ++j)
#pragma unroll
                for (int i = i0; i < i0 + 2; ++i) {
                  uint32_t a[4];
                  Format::to_operand(codes[i], j, a);
#pragma unroll
                  for (int c = 0; c < kCols; ++c) {
                    const uint32_t* b = xf[c][unit * kSteps + i];
                    add_product<typename Format::Type>(dot[i][c], j == 0, a, b[2 * j],
                                                       b[2 * j + 1]);
                  }
                }
#pragma unroll
              for (int i = i0; i < i0 + 2; ++i)
#pragma unroll
                for (int c = 0; c < kCols; ++c)
                  add_step(acc[c], dot[i][c], low.scale(i), high.scale(i));
            }
          }
#pragma unroll
          for (int c = 0; c < kCols; ++c)
            mine[c * 32] = make_float4(acc[c][0], acc[c][1], acc[c][2], acc[c][3]);
        }
      }
    __syncthreads();
    store_band<kCols>(w, m, SameRow{}, meeting, plan.band, band0, band_end);
    if (plan.buffers == 2)
      buffer ^= 1;
    else
      __syncthreads();
  }
}

}  // namespace stepless::kernels::sm80
