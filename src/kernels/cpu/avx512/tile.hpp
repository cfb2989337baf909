// y = x · wᵀ in float32, whatever the weight's format: a chunk of eight weight rows is decoded to
// float32 in L1, then multiplied with every row of x, three at a time. Lane i of an accumulator
// sums elements i, i + 16, i + 32 … of the decoded order, in that order for every m, slice and
// tile; sum_each() adds the lanes.
#pragma once
#include "kernels/cpu/avx512/decode.hpp"

namespace stepless::kernels {

static constexpr int64_t kTileM = 3;
/// Most rows of x that share one decoded chunk; their sums live in L1 beside it, or nearly. (24: 3
/// to 7 % slower from 48 rows on; 96 up to 8 % slower than 48 and 72; chunks of 256 or 1024
/// elements: 6 and 4 % slower. Codes or elements asked for ahead, while a chunk is multiplied:
/// nothing gained.)
static constexpr int64_t kGroupM = 72;

/// Blocks of x are shared out evenly: each time that weights are read again costs 5 % of codes and
/// 10 to 20 % of dense float32.
static inline int64_t rows_together(int64_t m) {
  const int64_t groups = (m + kGroupM - 1) / kGroupM, blocks = (m + kTileM - 1) / kTileM;
  return (blocks + groups - 1) / groups * kTileM;
}

// x as prepared: blocks of three rows (the last hold what is left), 16 elements of each row in
// turn, zero beyond k.
static inline int64_t padded(int64_t k) { return (k + 127) / 128 * 128; }

/// Whether the last four rows are two blocks of two, as one row alone takes a third longer (m = 7,
/// 10, 13 and 16 take 2 to 4 % less). Not where x makes several groups: those are of whole blocks.
static inline bool ends_in_twos(const MatmulArgs& args) {
  return args.m % kTileM == 1 && args.m > 1 && args.m <= kGroupM;
}

static inline int64_t first_of(const MatmulArgs& args, int64_t block) {
  const int64_t first = block * kTileM;
  if (!ends_in_twos(args) || first < args.m - 2) return first < args.m ? first : args.m;
  return first < args.m ? args.m - 2 : args.m;
}

static inline int64_t block_rows(const MatmulArgs& args, int64_t block) {
  return first_of(args, block + 1) - first_of(args, block);
}

static inline float* block_of(const MatmulArgs& args, int64_t block) {
  return reinterpret_cast<float*>(args.workspace) + first_of(args, block) * padded(args.k);
}

template <bool kNibbles>
static void prepare_rows(const void* opaque, Slice rows) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t block = (i + (ends_in_twos(args) && i == args.m - 2 ? 1 : 0)) / kTileM;
    float* to = block_of(args, block) + (i - first_of(args, block)) * 16;
    put_row<kNibbles>(args, i, padded(args.k), to, block_rows(args, block) * 16);
  }
}

template <int kM>
static void accumulate(const float* panel, const float* x, int64_t steps, __m512* sums) {
  __m512 acc[kM][kRows];
#pragma GCC unroll 3
  for (int i = 0; i < kM; ++i)
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) acc[i][r] = sums[i * kRows + r];
  for (int64_t s = 0; s < steps; ++s, panel += 16, x += kM * 16) {
    __m512 xs[kM];
#pragma GCC unroll 3
    for (int i = 0; i < kM; ++i) xs[i] = _mm512_load_ps(x + 16 * i);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      __m512 w = _mm512_load_ps(panel + kPanelRow * r);
      asm("" : "+v"(w));  // else gcc 12 loads it again for every row of x
#pragma GCC unroll 3
      for (int i = 0; i < kM; ++i) acc[i][r] = _mm512_fmadd_ps(w, xs[i], acc[i][r]);
    }
  }
#pragma GCC unroll 3
  for (int i = 0; i < kM; ++i)
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sums[i * kRows + r] = acc[i][r];
}

static inline void accumulate_block(int64_t height, const float* panel, const float* x,
                                    int64_t steps, __m512* sums) {
  if (height == 1) return accumulate<1>(panel, x, steps, sums);
  if (height == 2) return accumulate<2>(panel, x, steps, sums);
  accumulate<3>(panel, x, steps, sums);
}

/// What fills a panel: here each row's chunk by itself.
template <void (*kDecode)(const Chunk&)>
struct ByRows {
  const MatmulArgs& args;
  int64_t n0, count;

  void decode(int64_t k0, int64_t length, float* panel) {
    for (int64_t r = 0; r < count; ++r) kDecode({args, n0 + r, k0, length, panel + kPanelRow * r});
  }
};

/// Outputs n0 .. n0 + count - 1 of rows m0 .. m0 + rows - 1.
template <class Decoder>
static void run_tile(const MatmulArgs& args, int64_t m0, int64_t rows, int64_t n0, int64_t count) {
  alignas(64) float panel[kRows * kPanelRow];
  __m512 sums[kGroupM * kRows];
  Decoder decoder{args, n0, count};
  for (int64_t i = 0; i < rows * kRows; ++i) sums[i] = _mm512_setzero_ps();
  if (count < kRows)
    for (int64_t i = 0; i < kRows * kPanelRow; i += 16)
      _mm512_store_ps(panel + i, _mm512_setzero_ps());
  for (int64_t k0 = 0; k0 < args.k; k0 += kChunk) {
    const int64_t length = args.k - k0 < kChunk ? args.k - k0 : kChunk;
    const int64_t steps = (length + 63) / 64 * 4;
    if (length % 64 != 0)  // decoding may stop short of the last steps
      for (int64_t r = 0; r < kRows; ++r)
        for (int64_t s = steps - 4; s < steps; ++s)
          _mm512_store_ps(panel + kPanelRow * r + 16 * s, _mm512_setzero_ps());
    decoder.decode(k0, length, panel);
    for (int64_t i = 0, block = m0 / kTileM; i < rows; ++block) {
      const int64_t height = block_rows(args, block);
      accumulate_block(height, panel, block_of(args, block) + k0 * height, steps, sums + i * kRows);
      i += height;
    }
  }
  for (int64_t i = 0; i < rows; ++i)
    store_f32(args.y, args.y_type, (m0 + i) * args.y_stride + n0, first16(count),
              _mm512_castps256_ps512(sum_each(sums + i * kRows)));
}

template <class Decoder>
static void run_outputs(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  const int64_t together = rows_together(args.m);
  for (int64_t m0 = 0; m0 < args.m; m0 += together)
    for (int64_t n0 = units.begin; n0 < units.end; n0 += kRows)
      run_tile<Decoder>(args, m0, args.m - m0 < together ? args.m - m0 : together, n0,
                        units.end - n0 < kRows ? units.end - n0 : kRows);
}

}  // namespace stepless::kernels
