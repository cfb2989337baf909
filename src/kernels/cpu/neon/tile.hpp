// y = x · wᵀ in float32, whatever the weight's format: a chunk of four weight rows is decoded into
// L1, then multiplied with every row of x, three at a time (24 of 32 registers are sums). Lane i of
// eight takes elements i, i + 8, i + 16 … for every m, slice and tile; at the end the two vectors
// of an output are added, then neighbours.
#pragma once
#include "kernels/cpu/neon/decode.hpp"

namespace stepless::kernels {

static constexpr int64_t kTileM = 3;
static constexpr int64_t kGroupM = 24;  // rows of x that share a decoded chunk

/// The sums of one row of x with the weight rows of a tile.
struct RowSums {
  float32x4_t of[kRows][2];
};

// x as prepared: blocks of three rows (the last holds what is left), 8 elements of each row in
// turn, zero beyond k.
static inline int64_t rows_in(const MatmulArgs& args, int64_t block) {
  return least(args.m - block * kTileM, kTileM);
}

static inline float* block_of(const MatmulArgs& args, int64_t block) {
  return reinterpret_cast<float*>(args.workspace) + block * kTileM * padded(args.k);
}

static void prepare_rows(const void* opaque, Slice rows) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t block = i / kTileM, step = 8 * rows_in(args, block);
    float* to = block_of(args, block) + i % kTileM * 8;
    for (int64_t k = 0; k < padded(args.k); k += 8, to += step)
      for (int64_t t = 0; t < 8; t += 4)
        vst1q_f32(to + t, load_f32(args.x, args.x_type, i * args.x_stride + k + t, args.k - k - t));
  }
}

template <int kM>
static void accumulate(const float* panel, const float* x, int64_t steps, RowSums* sums) {
  float32x4_t acc[kM][kRows][2];
#pragma GCC unroll 3
  for (int i = 0; i < kM; ++i)
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r)
      acc[i][r][0] = sums[i].of[r][0], acc[i][r][1] = sums[i].of[r][1];
  for (int64_t s = 0; s < steps; ++s, panel += kRows * 8, x += kM * 8) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      float32x4_t xs[kM];
#pragma GCC unroll 3
      for (int i = 0; i < kM; ++i) xs[i] = vld1q_f32(x + 8 * i + 4 * h);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const float32x4_t w = vld1q_f32(panel + 8 * r + 4 * h);
#pragma GCC unroll 3
        for (int i = 0; i < kM; ++i) acc[i][r][h] = vfmaq_f32(acc[i][r][h], w, xs[i]);
      }
    }
  }
#pragma GCC unroll 3
  for (int i = 0; i < kM; ++i)
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r)
      sums[i].of[r][0] = acc[i][r][0], sums[i].of[r][1] = acc[i][r][1];
}

static inline float32x4_t outputs_of(const RowSums& sums) {
  float32x4_t both[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) both[r] = vaddq_f32(sums.of[r][0], sums.of[r][1]);
  return vpaddq_f32(vpaddq_f32(both[0], both[1]), vpaddq_f32(both[2], both[3]));
}

/// Rows m0 .. m0 + rows - 1 of x, outputs n0 .. n0 + count - 1.
struct Tile {
  int64_t m0, rows, n0, count;
};

template <void (*kDecode)(const Chunk&)>
static void run_tile(const MatmulArgs& args, const Tile& tile) {
  static constexpr void (*kHeights[])(const float*, const float*, int64_t, RowSums*) = {
      accumulate<1>, accumulate<2>, accumulate<3>};
  alignas(64) float panel[kRows * kChunk];
  RowSums sums[kGroupM];
  memset(sums, 0, static_cast<size_t>(tile.rows) * sizeof sums[0]);
  for (int64_t k0 = 0; k0 < args.k; k0 += kChunk) {
    const int64_t length = least(args.k - k0, kChunk), steps = (length + 15) / 16 * 2;
    if (tile.count < kRows)
      memset(panel, 0, static_cast<size_t>(steps * kRows * 8) * sizeof(float));
    for (int64_t r = 0; r < tile.count; ++r)
      kDecode({args, tile.n0 + r, k0, length, panel + 8 * r});
    for (int64_t i = 0; i < tile.rows; i += kTileM) {
      const int64_t block = (tile.m0 + i) / kTileM, height = rows_in(args, block);
      kHeights[height - 1](panel, block_of(args, block) + k0 * height, steps, sums + i);
    }
  }
  for (int64_t i = 0; i < tile.rows; ++i)
    store_f32(args.y, args.y_type, (tile.m0 + i) * args.y_stride + tile.n0, tile.count,
              outputs_of(sums[i]));
}

template <void (*kDecode)(const Chunk&)>
static void run_outputs(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  for (int64_t m0 = 0; m0 < args.m; m0 += kGroupM)
    for (int64_t n0 = units.begin; n0 < units.end; n0 += kRows)
      run_tile<kDecode>(args, {m0, least(args.m - m0, kGroupM), n0, least(units.end - n0, kRows)});
}

}  // namespace stepless::kernels
