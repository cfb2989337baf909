// y = x · wᵀ in float32, whatever the weight's format: a chunk of four weight rows is decoded into
// L1, then multiplied with every row of x, three at a time (12 sums, 3 of x and one of w fill the
// 16 registers). Lane i of a sum takes elements i, i + 8, i + 16 … of the decoded order, for every
// m, slice and tile; sum_each() adds the lanes.
#pragma once
#include "kernels/cpu/avx2/decode.hpp"

namespace stepless::kernels {

static constexpr int64_t kTileM = 3;
static constexpr int64_t kGroupM = 24;  // rows of x that share a decoded chunk

static inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }

// x as prepared: blocks of three rows (the last holds what is left), 8 elements of each row in
// turn, zero beyond k.
static inline int64_t padded(int64_t k) { return (k + 127) / 128 * 128; }

static inline int64_t block_rows(const MatmulArgs& args, int64_t block) {
  return min_of(args.m - block * kTileM, kTileM);
}

static inline float* block_of(const MatmulArgs& args, int64_t block) {
  return reinterpret_cast<float*>(args.workspace) + block * kTileM * padded(args.k);
}

/// x in the order in which weights of kBits are decoded; 0: dense ones.
template <Mode kMode, int kBits>
static void prepare_rows(const MatmulArgs& args, Slice rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t step = 8 * block_rows(args, i / kTileM);
    float* to = block_of(args, i / kTileM) + i % kTileM * 8;
    for (int64_t k = 0; k < padded(args.k); k += 64) {
      alignas(32) float natural[64];
      for (int64_t t = 0; t < 64; t += 8)
        _mm256_store_ps(natural + t,
                        load_f32(args.x, args.x_type, i * args.x_stride + k + t, args.k - k - t));
#pragma GCC unroll 8
      for (int t = 0; t < 8; ++t, to += step)
#pragma GCC unroll 8
        for (int lane = 0; lane < 8; ++lane) to[lane] = natural[element_at(kMode, kBits, t, lane)];
    }
  }
}

template <int kM>
static void accumulate(const float* panel, const float* x, int64_t steps, __m256* sums) {
  __m256 acc[kM][kRows];
#pragma GCC unroll 3
  for (int i = 0; i < kM; ++i)
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) acc[i][r] = sums[i * kRows + r];
  for (int64_t s = 0; s < steps; ++s, panel += kRows * 8, x += kM * 8) {
    __m256 xs[kM];
#pragma GCC unroll 3
    for (int i = 0; i < kM; ++i) xs[i] = _mm256_load_ps(x + 8 * i);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      __m256 w = _mm256_load_ps(panel + 8 * r);
      asm("" : "+x"(w));  // else gcc 12 loads it again for every row of x
#pragma GCC unroll 3
      for (int i = 0; i < kM; ++i) acc[i][r] = _mm256_fmadd_ps(w, xs[i], acc[i][r]);
    }
  }
#pragma GCC unroll 3
  for (int i = 0; i < kM; ++i)
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[i * kRows + r] = acc[i][r];
}

using Accumulate = void (*)(const float* panel, const float* x, int64_t steps, __m256* sums);

/// Outputs n0 .. n0 + count - 1 of rows m0 .. m0 + rows - 1.
template <void (*kDecode)(const Chunk&)>
static void run_tile(const MatmulArgs& args, int64_t m0, int64_t rows, int64_t n0, int64_t count) {
  static constexpr Accumulate kHeights[] = {accumulate<1>, accumulate<2>, accumulate<3>};
  alignas(32) float panel[kRows * kChunk];
  __m256 sums[kGroupM * kRows];
  for (int64_t i = 0; i < rows * kRows; ++i) sums[i] = _mm256_setzero_ps();
  for (int64_t k0 = 0; k0 < args.k; k0 += kChunk) {
    const int64_t length = min_of(args.k - k0, kChunk);
    const int64_t steps = (length + 63) / 64 * 8;
    if (count < kRows || length % 64 != 0)  // decoding leaves rows or the last steps out
      memset(panel, 0, static_cast<size_t>(steps * kRows * 8) * sizeof(float));
    for (int64_t r = 0; r < count; ++r) kDecode({args, n0 + r, k0, length, panel + 8 * r});
    for (int64_t i = 0; i < rows; i += kTileM) {
      const int64_t block = (m0 + i) / kTileM, height = block_rows(args, block);
      kHeights[height - 1](panel, block_of(args, block) + k0 * height, steps, sums + i * kRows);
    }
  }
  for (int64_t i = 0; i < rows; ++i)
    store_f32(args.y, args.y_type, (m0 + i) * args.y_stride + n0, count,
              sum_each(sums + i * kRows));
}

template <void (*kDecode)(const Chunk&)>
static void run_outputs(const MatmulArgs& args, Slice units) {
  for (int64_t m0 = 0; m0 < args.m; m0 += kGroupM)
    for (int64_t n0 = units.begin; n0 < units.end; n0 += kRows)
      run_tile<kDecode>(args, m0, min_of(args.m - m0, kGroupM), n0, min_of(units.end - n0, kRows));
}

}  // namespace stepless::kernels
