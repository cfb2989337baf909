// m from 17 on of the unit kernels, as flat_many: a block owns one part of 1024 k, its x in shared
// memory as operands, and a run of row pairs (32 rows). A team of kTeam warps shares a ring of
// weights and takes a row pair at a time, each warp kWarpCols blocks of 8 columns. The parts of a
// row pair meet in global memory: whoever comes last adds them up, in order.
#pragma once
#include "kernels/cuda/sm80/unit_formats.cuh"

namespace stepless::kernels::sm80 {

/// Shared memory of unit_many: x as [step][block of 8 columns][half][lane] 16 bytes, sums, rings.
template <class Format, int kTeam, int kWarpCols, int kStages, int kTeams>
struct ManyRoom {
  static constexpr int kBlocks = kTeam * kWarpCols;
  static constexpr int kSumBytes = Format::kAffine ? Format::kDots * 32 : 0;
  static constexpr int kSums = kPartSteps * kBlocks * 1024;
  static constexpr int kRings = kSums + kPartSteps * kBlocks * kSumBytes;
  static constexpr int kSlotBytes = kPairTiles * Format::kUnitBytes;
  static constexpr int kBytes = kRings + kTeams * kStages * kSlotBytes;
  static constexpr int kThreads = kTeam * kTeams * 32;
};

template <class Format, class Room>
static __device__ __forceinline__ void stage_unit_x(const UnitCall& call, int k0, int k,
                                                    uint32_t operands, int lane, int warp) {
  constexpr int kAtOnce = Format::kRuns == 4 ? 4 : 8, kItems = kPartSteps * Room::kBlocks;
  constexpr int kWarps = Room::kThreads / 32;
  const int g = lane >> 2, t = lane & 3;
  for (int item0 = warp; item0 < kItems; item0 += kWarps * kAtOnce) {
    typename Format::X x[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int item = item0 + i * kWarps, column = item % Room::kBlocks * 8 + g;
      const int at = k0 + item / Room::kBlocks * kStepK;
      x[i] = Format::no_x();
      if (item < kItems && column < call.m && at < k)
        x[i] = Format::load_x(call.x + column * call.x_row_bytes + at * 2, t);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int item = item0 + i * kWarps;
      if (item >= kItems) continue;
      uint32_t b[8];
      Format::permute(x[i], t, b);
      const uint32_t to = operands + item * 1024 + lane * 16;
      store_shared16(to, make_uint4(b[0], b[1], b[2], b[3]));
      store_shared16(to + 512, make_uint4(b[4], b[5], b[6], b[7]));
      if constexpr (Format::kAffine)
        store_dot_sums<Format>(b, operands + Room::kSums + item * Room::kSumBytes, g, t);
    }
  }
}

/// One step of a row pair times the warp's columns. `operands`, `sums`: the step's first block of
/// the warp. Four chains of products side by side: eight spill.
template <class Format, class Room, int kWarpCols>
static __device__ __forceinline__ void add_pair_step(
    uint32_t row, int step, const typename Format::Scales (&low)[kPairTiles],
    const typename Format::Scales (&high)[kPairTiles], uint32_t operands, uint32_t sums, int t,
    bool odd, float (&acc)[kPairTiles][kWarpCols][4]) {
  constexpr int kProducts = 4 / Format::kDots;
  uint32_t a[kPairTiles][4][4];
#pragma unroll
  for (int r = 0; r < kPairTiles; ++r) {
    const auto codes = Format::load(row + r * Format::kUnitBytes, step, t);
#pragma unroll
    for (int j = 0; j < 4; ++j) Format::to_operand(codes, j, a[r][j]);
  }
#pragma unroll
  for (int c0 = 0; c0 < kWarpCols; c0 += kSideBySide) {
    float dot[kPairTiles][kSideBySide][4];
    uint4 b[kSideBySide];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int c = 0; c < kSideBySide; ++c) {
        if (j % 2 == 0) b[c] = load_shared16(operands + (c0 + c) * 1024 + j / 2 * 512);
#pragma unroll
        for (int r = 0; r < kPairTiles; ++r) {
          float(&d)[4] = dot[r][c];
          if (j % kProducts == 0) d[0] = d[1] = d[2] = d[3] = 0;
          Format::Type::multiply_add(d, d, a[r][j], j % 2 == 0 ? b[c].x : b[c].z,
                                     j % 2 == 0 ? b[c].y : b[c].w);
        }
      }
      if ((j + 1) % kProducts != 0) continue;
#pragma unroll
      for (int c = 0; c < kSideBySide; ++c) {
        const DotSums s =
            load_dot_sums<Format>(sums + (c0 + c) * Room::kSumBytes, j / kProducts, t);
#pragma unroll
        for (int r = 0; r < kPairTiles; ++r)
          add_dot<Format>(acc[r][c0 + c], dot[r][c], s,
                          dot_scales<Format>(low[r], high[r], step, j / kProducts), odd);
      }
    }
  }
}

template <int kTeam, int kWarpCols, class Format, int kStages, int kTeams>
__global__ void __launch_bounds__(kTeam* kTeams * 32, 1)
    unit_many(const __grid_constant__ FlatWeights w, const __grid_constant__ UnitCall call,
              int pairs, float4* partials, unsigned* tickets) {
  using Room = ManyRoom<Format, kTeam, kWarpCols, kStages, kTeams>;
  extern __shared__ __align__(128) uint8_t shared[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const int team = warp / kTeam, member = warp % kTeam;
  const int parts = (w.k + kPartK - 1) / kPartK, part = blockIdx.x % parts;
  const int64_t all_pairs = pairs, slots = gridDim.x / parts, own_slot = blockIdx.x / parts;
  const int first = static_cast<int>(all_pairs * own_slot / slots) + team;
  const int end = static_cast<int>(all_pairs * (own_slot + 1) / slots);
  const int k0 = part * kPartK, units = (min(kPartK, w.k - k0) + kUnitK - 1) / kUnitK;
  const uint32_t operands = shared_address(shared);
  const uint32_t ring = operands + Room::kRings + team * kStages * Room::kSlotBytes;

  int ahead_pair = first, ahead_unit = 0, fill = 0;
  const auto copy_next = [&] {
    if (ahead_pair < end) {
#pragma unroll
      for (int r = 0; r < kPairTiles / kTeam; ++r) {
        const int tile = member * (kPairTiles / kTeam) + r;
        const TilePlace place = find_tile(w, ahead_pair * kPairTiles + tile);
        copy_rows<Format>(w.one[place.weight], call, place.tile,
                          part * (kPartK / kUnitK) + ahead_unit,
                          ring + fill * Room::kSlotBytes + tile * Format::kUnitBytes, lane);
      }
      if (++ahead_unit == units) ahead_unit = 0, ahead_pair += kTeams;
    }
    commit_copies();
    fill = fill + 1 == kStages ? 0 : fill + 1;
  };
  let_next_start();
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) copy_next();
  wait_for_inputs();
  stage_unit_x<Format, Room>(call, k0, w.k, operands, lane, warp);
  __syncthreads();

  const bool odd = w.y_type != DType::f32;
  const uint32_t my_operands = operands + member * kWarpCols * 1024 + lane * 16;
  const uint32_t my_sums = operands + Room::kSums + member * kWarpCols * Room::kSumBytes;
  ScaleRule rule = Format::rule(call, lane);
  int slot = 0;
  for (int pair = first; pair < end; pair += kTeams) {
    float acc[kPairTiles][kWarpCols][4] = {}, before[kPairTiles][kWarpCols][4] = {};
    for (int unit = 0; unit < units; ++unit) {
      wait_copies<kStages - 2>();
      meet_team<kTeam>(team);
      const uint32_t row = ring + slot * Room::kSlotBytes + g * Format::kRowBytes;
      slot = slot + 1 == kStages ? 0 : slot + 1;
      typename Format::Scales low[kPairTiles], high[kPairTiles];
#pragma unroll
      for (int r = 0; r < kPairTiles; ++r) {
        if constexpr (Format::kTensorScale)
          rule.tensor_scale = call.tensor_scale[find_tile(w, pair * kPairTiles + r).weight];
        low[r] = Format::load_scales(row + r * Format::kUnitBytes, rule);
        high[r] = Format::load_scales(row + r * Format::kUnitBytes + 8 * Format::kRowBytes, rule);
      }
      copy_next();
      if (unit == 2) {
#pragma unroll
        for (int r = 0; r < kPairTiles; ++r)
#pragma unroll
          for (int c = 0; c < kWarpCols; ++c)
#pragma unroll
            for (int e = 0; e < 4; ++e) before[r][c][e] = acc[r][c][e], acc[r][c][e] = 0;
      }
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        const uint32_t block = static_cast<uint32_t>(unit * kSteps + i) * Room::kBlocks;
        add_pair_step<Format, Room, kWarpCols>(row, i, low, high, my_operands + block * 1024,
                                               my_sums + block * Room::kSumBytes, t, odd, acc);
      }
    }
    if (units > 2) {
#pragma unroll
      for (int r = 0; r < kPairTiles; ++r)
#pragma unroll
        for (int c = 0; c < kWarpCols; ++c)
#pragma unroll
          for (int e = 0; e < 4; ++e) acc[r][c][e] = before[r][c][e] + acc[r][c][e];
    }
    finish_pair<kTeam, kWarpCols>(w, pair, member, call.m, part, parts, lane, partials, tickets,
                                  acc);
  }
}

}  // namespace stepless::kernels::sm80
