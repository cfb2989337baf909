// What the bf16 tiles share: eight rows of x by two weight rows, the walk over them, sums of
// accumulators and their one rounding to the result's type. Static only: nothing here is exported.
#pragma once
#include <immintrin.h>

#include "kernels/args.hpp"

namespace stepless::kernels {

static constexpr int kTileM = 8;  // with twelve rows of x the accumulators spill
static constexpr int kTileN = 2;

static inline int64_t padded(int64_t k) { return (k + 127) / 128 * 128; }

/// The prepared rows of the block of eight (the last block holds what is left) that row i lies in.
static inline uint16_t* block_of(const MatmulArgs& args, int64_t i) {
  return reinterpret_cast<uint16_t*>(args.workspace) + i / kTileM * kTileM * padded(args.k);
}

static inline int64_t block_rows(const MatmulArgs& args, int64_t i) {
  const int64_t left = args.m - i / kTileM * kTileM;
  return left < kTileM ? left : kTileM;
}

/// How far to prefetch in a tile of weight rows read in step: the same place some tiles on, 8 KiB
/// or more.
static inline int64_t bytes_ahead(const MatmulArgs& args) {
  const int64_t tile = kTileN * args.w_row_bytes;
  return tile >= 8192 ? tile : (8191 / tile + 1) * tile;
}

static inline __mmask32 first32(int64_t count) {
  return count >= 32 ? 0xFFFFFFFFu : count > 0 ? (1u << count) - 1 : 0;
}

/// The sums of eight vectors, in lanes 0 to 7: lane i and i + 8 first, then neighbours, then the
/// two quarters. One tree for every output.
static inline __m256 sum_each(const __m512* v) {
  __m256 half[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r)
    half[r] = _mm256_add_ps(_mm512_castps512_ps256(v[r]), _mm512_extractf32x8_ps(v[r], 1));
  const __m256 pairs[4] = {_mm256_hadd_ps(half[0], half[1]), _mm256_hadd_ps(half[2], half[3]),
                           _mm256_hadd_ps(half[4], half[5]), _mm256_hadd_ps(half[6], half[7])};
  const __m256 low = _mm256_hadd_ps(pairs[0], pairs[1]), high = _mm256_hadd_ps(pairs[2], pairs[3]);
  return _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20),
                       _mm256_permute2f128_ps(low, high, 0x31));
}

/// Rounds to nearest even. VCVTNEPS2BF16 would flush subnormal numbers.
static inline __m128i f32_to_bf16(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7FFF));
  const __mmask8 nan = _mm256_cmp_ps_mask(value, value, _CMP_UNORD_Q);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  return _mm256_cvtepi32_epi16(_mm256_srli_epi32(_mm256_mask_mov_epi32(rounded, nan, quiet), 16));
}

/// `count` neighbouring outputs of row i.
static inline void store_outputs(const MatmulArgs& args, int64_t i, int64_t n, int64_t count,
                                 __m256 value) {
  const __mmask8 mask = static_cast<__mmask8>((1u << count) - 1);
  const int64_t at = i * args.y_stride + n;
  if (args.y_type == DType::f32) {
    _mm256_mask_storeu_ps(static_cast<float*>(args.y) + at, mask, value);
    return;
  }
  const __m128i half = args.y_type == DType::f16 ? _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT)
                                                 : f32_to_bf16(value);
  _mm_mask_storeu_epi16(static_cast<uint8_t*>(args.y) + 2 * at, mask, half);
}

template <int kM>
static inline void store_tile(const MatmulArgs& args, int64_t m0, int64_t n0, int64_t count,
                              const __m512 (*acc)[kM]) {
  constexpr int kSums = kM * kTileN;
  __m512 flat[(kSums + 7) / 8 * 8];
#pragma GCC unroll 16
  for (int j = 0; j < (kSums + 7) / 8 * 8; ++j)
    flat[j] = j < kSums ? acc[j % kTileN][j / kTileN] : _mm512_setzero_ps();
  alignas(32) float sums[16] = {};
  for (int j = 0; j < kSums; j += 8) {
    _mm256_store_ps(sums, sum_each(flat + j));
    for (int i = 0; i < 8 / kTileN && j / kTileN + i < kM; ++i)
      store_outputs(args, m0 + j / kTileN + i, n0, count, _mm256_loadu_ps(sums + kTileN * i));
  }
}

/// Outputs n0 .. n0 + count - 1 (at most kTileN) of the block of rows of x that begins at m0.
using Tile = void (*)(const MatmulArgs& args, int64_t m0, int64_t n0, int64_t count);

/// tiles[h - 1] serves a block of h rows.
static inline void run_tiles(const Tile (&tiles)[kTileM], const MatmulArgs& args, Slice units) {
  // Rows of x that stay in L2 while the slice of weights passes, 512 KiB: with 128 rows whatever k
  // is, 13824 wide ones fell from 57 to 36 GFLOP/s (2 MiB of L2).
  const int64_t blocks = (512 << 10) / (2 * kTileM * padded(args.k));
  const int64_t rows = blocks > 1 ? blocks * kTileM : kTileM;
  for (int64_t part = 0; part < args.m; part += rows) {
    const int64_t end = args.m - part < rows ? args.m : part + rows;
    for (int64_t n = units.begin; n < units.end; n += kTileN)
      for (int64_t m = part; m < end; m += kTileM)
        tiles[block_rows(args, m) - 1](args, m, n, units.end - n < kTileN ? units.end - n : kTileN);
  }
}

}  // namespace stepless::kernels
