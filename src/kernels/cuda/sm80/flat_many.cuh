// m = 17..64: a block owns one part of 1024 k, its x in shared memory as operands, and a run of row
// pairs (32 rows). A team of kTeam warps shares a ring of weights and takes a row pair at a time,
// each warp kWarpCols blocks of 8 columns. The parts of a row pair meet in global memory: whoever
// comes last adds them up, in order.
#pragma once
#include "kernels/cuda/sm80/flat_few.cuh"

namespace stepless::kernels::sm80 {

constexpr int kPairTiles = 2, kSideBySide = 2;
constexpr int kPartSteps = kPartK / kStepK;

template <int kTeam>
static __device__ __forceinline__ void meet_team(int team) {
  if constexpr (kTeam == 1)
    __syncwarp();
  else
    asm volatile("bar.sync %0,%1;" ::"r"(team + 1), "n"(kTeam * 32) : "memory");
}

/// x of the block's part: [step][n8 column block][half][lane] 16 bytes, and its units' sums, [unit]
/// [block][lane] 16 bytes. A warp takes 8 columns of a unit at a time.
template <int kBlocks, class Format>
static __device__ __forceinline__ void stage_x(const uint8_t* x, int64_t x_row_bytes, int m, int k0,
                                               int k, uint32_t operands, uint32_t sums, int lane,
                                               int warp, int warps) {
  const int g = lane >> 2, t = lane & 3;
  for (int item = warp; item < kPartUnits * kBlocks; item += warps) {
    const int block = item % kBlocks, unit = item / kBlocks, column = block * 8 + g;
    uint4 p[kSteps], q[kSteps];
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const int at = k0 + unit * kUnitK + i * kStepK;
      p[i] = q[i] = make_uint4(0, 0, 0, 0);
      if (column < m && at < k) {
        const uint8_t* from = x + column * x_row_bytes + (at + t * 16) * 2;
        p[i] = load_input16(from), q[i] = load_input16(from + 16);
      }
    }
    uint32_t b[kSteps][8];
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      Format::permute(p[i], q[i], b[i]);
      const uint32_t to = operands + ((unit * kSteps + i) * kBlocks + block) * 1024 + lane * 16;
      store_shared16(to, make_uint4(b[i][0], b[i][1], b[i][2], b[i][3]));
      store_shared16(to + 512, make_uint4(b[i][4], b[i][5], b[i][6], b[i][7]));
    }
    Format::sums_of(b).keep(sums + item * 512 + lane * 16);
  }
}

/// The parts of what a warp computes, by way of global memory: true for whoever comes last, with
/// their sum.
template <int kWarpCols>
static __device__ __forceinline__ bool meet_parts(float4* mine, unsigned* ticket, int part,
                                                  int parts, int lane,
                                                  float (&acc)[kPairTiles][kWarpCols][4]) {
  constexpr int kTiles = kPairTiles * kWarpCols;
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    const float* v = acc[i / kWarpCols][i % kWarpCols];
    mine[(part * kTiles + i) * 32 + lane] = make_float4(v[0], v[1], v[2], v[3]);
  }
  __syncwarp();
  unsigned arrived = 0;
  if (lane == 0) arrived = take_ticket(ticket);
  arrived = __shfl_sync(~0u, arrived, 0);
  if (arrived + 1 != static_cast<unsigned>(parts)) return false;
  if (lane == 0) *ticket = 0;  // for the next launch
  for (int other = 0; other < parts; ++other) {
    float4 v[kTiles];
#pragma unroll
    for (int i = 0; i < kTiles; ++i) v[i] = load_l2(&mine[(other * kTiles + i) * 32 + lane]);
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      float* total = acc[i / kWarpCols][i % kWarpCols];
      total[0] = other == 0 ? v[i].x : total[0] + v[i].x;
      total[1] = other == 0 ? v[i].y : total[1] + v[i].y;
      total[2] = other == 0 ? v[i].z : total[2] + v[i].z;
      total[3] = other == 0 ? v[i].w : total[3] + v[i].w;
    }
  }
  return true;
}

/// `column0`: the warp's first column.
template <int kWarpCols>
static __device__ __forceinline__ void store_pair(const FlatWeights& w, int pair, int column0,
                                                  int m, int lane,
                                                  const float (&acc)[kPairTiles][kWarpCols][4]) {
  const int g = lane >> 2, t = lane & 3, step = w.gated ? kPairTiles : 1;
#pragma unroll
  for (int r = 0; r < kPairTiles; ++r) {
    if (r % step != 0) break;
    const TilePlace place = find_tile(w, pair * kPairTiles + r);
#pragma unroll
    for (int c = 0; c < kWarpCols; ++c)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int out = place.tile * kTileRows + g + e / 2 * 8;
        const int column = column0 + c * 8 + 2 * t + e % 2;
        if (out >= w.one[place.weight].n || column >= m) continue;
        if (w.gated)
          store_gated(w, column, out, acc[0][c][e], acc[1][c][e]);
        else
          store(w.y[place.weight], w.y_type, column * w.y_stride[place.weight] + out, acc[r][c][e]);
      }
  }
}

/// What a warp, a member of its team, has of one part of a row pair goes where it belongs.
template <int kTeam, int kWarpCols>
static __device__ __forceinline__ void finish_pair(const FlatWeights& w, int pair, int member,
                                                   int m, int part, int parts, int lane,
                                                   float4* partials, unsigned* tickets,
                                                   float (&acc)[kPairTiles][kWarpCols][4]) {
  if (parts > 1) {
    const int place = pair * kTeam + member;
    float4* const mine =
        partials + static_cast<int64_t>(place) * parts * kPairTiles * kWarpCols * 32;
    if (!meet_parts<kWarpCols>(mine, &tickets[place], part, parts, lane, acc)) return;
  }
  store_pair<kWarpCols>(w, pair, member * kWarpCols * 8, m, lane, acc);
}

/// Format: FourBitsOf.
template <int kTeam, int kWarpCols, class Format, int kStages, int kTeams>
__global__ void __launch_bounds__(kTeam* kTeams * 32, 1)
    flat_many(const __grid_constant__ FlatWeights w, const uint8_t* x, int64_t x_row_bytes, int m,
              int pairs, float4* partials, unsigned* tickets) {
  using Type = typename Format::Type;
  extern __shared__ __align__(128) uint8_t shared[];
  constexpr int kBlocks = kTeam * kWarpCols, kSlotBytes = kPairTiles * kUnitBytes;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const int team = warp / kTeam, member = warp % kTeam;
  const int parts = (w.k + kPartK - 1) / kPartK, part = blockIdx.x % parts;
  const int slots = gridDim.x / parts, slot_of_block = blockIdx.x / parts;
  const int first = static_cast<int>(static_cast<int64_t>(pairs) * slot_of_block / slots) + team;
  const int end = static_cast<int>(static_cast<int64_t>(pairs) * (slot_of_block + 1) / slots);
  const int k0 = part * kPartK, units = min(kPartK, w.k - k0) / kUnitK;
  const uint32_t operands = shared_address(shared);
  const uint32_t sums = operands + kPartSteps * kBlocks * 1024;
  const uint32_t ring = sums + kPartUnits * kBlocks * 512 + team * kStages * kSlotBytes;

  int ahead_pair = first, ahead_unit = 0, fill = 0;
  const auto copy_next = [&] {
    if (ahead_pair < end) {
#pragma unroll
      for (int r = 0; r < kPairTiles / kTeam; ++r) {
        const int tile = member * (kPairTiles / kTeam) + r;
        const TilePlace place = find_tile(w, ahead_pair * kPairTiles + tile);
        Format::copy(w.one[place.weight], place.tile, part * (kPartK / kUnitK) + ahead_unit,
                     ring + fill * kSlotBytes + tile * kUnitBytes, lane);
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
  stage_x<kBlocks, Format>(x, x_row_bytes, m, k0, w.k, operands, sums, lane, warp, kTeam * kTeams);
  __syncthreads();

  const uint32_t my_operands = operands + member * kWarpCols * 1024 + lane * 16;
  const uint32_t my_sums = sums + member * kWarpCols * 512 + lane * 16;
  const uint32_t word = Format::word_at(t);
  int slot = 0;
  for (int pair = first; pair < end; pair += kTeams) {
    float acc[kPairTiles][kWarpCols][4], before[kPairTiles][kWarpCols][4];
#pragma unroll
    for (int r = 0; r < kPairTiles; ++r)
#pragma unroll
      for (int c = 0; c < kWarpCols; ++c)
#pragma unroll
        for (int e = 0; e < 4; ++e) acc[r][c][e] = before[r][c][e] = 0;
    for (int unit = 0; unit < units; ++unit) {
      wait_copies<kStages - 2>();
      meet_team<kTeam>(team);
      const uint32_t row = ring + slot * kSlotBytes + g * kRowBytes;
      slot = slot + 1 == kStages ? 0 : slot + 1;
      typename Format::Scales low[kPairTiles], high[kPairTiles];
      uint32_t low_word[kPairTiles], high_word[kPairTiles];
#pragma unroll
      for (int r = 0; r < kPairTiles; ++r) {
        low[r] = Format::Scales::load(row + r * kUnitBytes);
        high[r] = Format::Scales::load(row + r * kUnitBytes + 8 * kRowBytes);
        low_word[r] = load_shared4(row + word + r * kUnitBytes);
        high_word[r] = load_shared4(row + word + r * kUnitBytes + 8 * kRowBytes);
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
      for (int c = 0; c < kWarpCols; ++c) {
        const auto s = Format::Sums::kept(my_sums + (unit * kBlocks + c) * 512);
#pragma unroll
        for (int r = 0; r < kPairTiles; ++r) s.add_to(acc[r][c], low_word[r], high_word[r]);
      }
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        uint32_t a[kPairTiles][4][4];
#pragma unroll
        for (int r = 0; r < kPairTiles; ++r) {
          const auto codes = Format::load(row + r * kUnitBytes, i, t);
#pragma unroll
          for (int j = 0; j < 4; ++j) Format::to_operand(codes, j, a[r][j]);
        }
        const uint32_t block = static_cast<uint32_t>(unit * kSteps + i) * kBlocks;
        // Four chains of four products side by side: one alone waits 33 cycles for each, eight
        // spill.
#pragma unroll
        for (int c0 = 0; c0 < kWarpCols; c0 += kSideBySide) {
          float dot[kPairTiles][kSideBySide][4];
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            uint4 b[kSideBySide];
#pragma unroll
            for (int c = 0; c < kSideBySide; ++c)
              b[c] = load_shared16(my_operands + (block + c0 + c) * 1024 + h * 512);
#pragma unroll
            for (int c = 0; c < kSideBySide; ++c)
#pragma unroll
              for (int r = 0; r < kPairTiles; ++r)
                add_product<Type>(dot[r][c], h == 0, a[r][2 * h], b[c].x, b[c].y);
#pragma unroll
            for (int c = 0; c < kSideBySide; ++c)
#pragma unroll
              for (int r = 0; r < kPairTiles; ++r)
                add_product<Type>(dot[r][c], false, a[r][2 * h + 1], b[c].z, b[c].w);
          }
#pragma unroll
          for (int c = 0; c < kSideBySide; ++c)
#pragma unroll
            for (int r = 0; r < kPairTiles; ++r)
              add_step(acc[r][c0 + c], dot[r][c], low[r].scale(i), high[r].scale(i));
        }
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
    finish_pair<kTeam, kWarpCols>(w, pair, member, m, part, parts, lane, partials, tickets, acc);
  }
}

}  // namespace stepless::kernels::sm80
