// Up to six rows of x: four weight rows in step, decoded into registers. Values and order of
// summation are those of tile.hpp, so such a row takes turns with the tiles that serve more rows of
// x. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512/tile.hpp"

namespace stepless::kernels {

static constexpr int kTileN = 4;
static constexpr int kMost = 2 * kTileM;  // rows of x: two blocks

/// Where the next 64 elements of x lie, in its first and second block.
struct Places {
  const float* low;
  const float* high;
};

template <int kM>
static inline __m512 x_at(Places x, int t, int i) {
  constexpr int kLow = kM < kTileM ? kM : kTileM, kHigh = kM - kLow;
  return _mm512_load_ps(i < kLow ? x.low + 16 * (t * kLow + i)
                                 : x.high + 16 * (t * kHigh + i - kLow));
}

/// 64 elements of one weight row times kM rows of x.
template <int kM, class Block>
static inline void add_block(const Block& block, Places x, __m512* acc) {
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    const __m512 w = block.value(t);
#pragma GCC unroll 6
    for (int i = 0; i < kM; ++i) acc[i] = _mm512_fmadd_ps(w, x_at<kM>(x, t, i), acc[i]);
  }
}

/// W: a stretch of a weight row. kStretch: how many elements; kBytes of 64 of them, at `bytes`;
/// start(chunk); block(j), 64 elements whose value(t) are 16, and last(j, left), the end of a row.
template <class W, int kM>
static void run_rows(const MatmulArgs& args, int64_t n0, int64_t count) {
  __m512 acc[kTileN][kM];
#pragma GCC unroll 4
  for (int r = 0; r < kTileN; ++r)
#pragma GCC unroll 6
    for (int i = 0; i < kM; ++i) acc[r][i] = _mm512_setzero_ps();
  Places x = {block_of(args, 0), kM > kTileM ? block_of(args, 1) : nullptr};
  const int64_t ahead = bytes_ahead(args, kTileN);
  for (int64_t k0 = 0; k0 < args.k; k0 += W::kStretch) {
    const int64_t length = args.k - k0 < W::kStretch ? args.k - k0 : W::kStretch;
    W w[kTileN];
    for (int64_t r = 0; r < kTileN; ++r)
      w[r].start({args, n0 + (r < count ? r : 0), k0, length, nullptr});
    int64_t j = 0;
    for (; j * 64 + 64 <= length; ++j) {
#pragma GCC unroll 4
      for (int r = 0; r < kTileN; ++r) {
        if (j * W::kBytes % 64 == 0) _mm_prefetch(w[r].bytes + W::kBytes * j + ahead, _MM_HINT_T0);
        add_block<kM>(w[r].block(j), x, acc[r]);
      }
      x.low += 64 * (kM < kTileM ? kM : kTileM);
      if (kM > kTileM) x.high += 64 * (kM - kTileM);
    }
    if (j * 64 < length)
#pragma GCC unroll 4
      for (int r = 0; r < kTileN; ++r) add_block<kM>(w[r].last(j, length - 64 * j), x, acc[r]);
  }
  for (int i = 0; i < kM; ++i) {
    __m512 sums[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) sums[r] = r < kTileN ? acc[r][i] : _mm512_setzero_ps();
    store_f32(args.y, args.y_type, i * args.y_stride + n0, first16(count),
              _mm512_castps256_ps512(sum_each(sums)));
  }
}

template <class W>
static constexpr void (*kRuns[kMost])(const MatmulArgs&, int64_t, int64_t) = {
    run_rows<W, 1>, run_rows<W, 2>, run_rows<W, 3>, run_rows<W, 4>, run_rows<W, 5>, run_rows<W, 6>};

}  // namespace stepless::kernels
