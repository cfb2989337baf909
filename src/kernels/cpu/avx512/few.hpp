// Up to six rows of x: four weight rows in step, decoded into registers; up to ten: two. Values
// and order of summation are those of tile.hpp, so such a row takes turns with the tiles that serve
// more rows of x. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512/tile.hpp"

namespace stepless::kernels {

static constexpr int kTileN = 4;
/// Weight rows in step: as many as leave their sums in registers.
template <int kM>
static constexpr int kInStep = kM <= 2 * kTileM ? kTileN : 2;

/// Where the next 64 elements of x lie, in each of its blocks.
template <int kM>
struct Places {
  static constexpr int kHeight = static_cast<int>(kTileM), kBlocks = (kM + kHeight - 1) / kHeight;
  const float* block[kBlocks];

  static constexpr int height(int b) { return b < kBlocks - 1 ? kHeight : kM - b * kHeight; }
  __m512 at(int t, int i) const {
    const int b = i / kHeight;
    return _mm512_load_ps(block[b] + 16 * (t * height(b) + i % kHeight));
  }
  void advance() {
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) block[b] += 64 * height(b);
  }
};

template <int kM>
static inline Places<kM> places_of(const MatmulArgs& args) {
  Places<kM> x;
  for (int b = 0; b < Places<kM>::kBlocks; ++b) x.block[b] = block_of(args, b);
  return x;
}

/// 64 elements of one weight row times kM rows of x.
template <int kM, class Block>
static inline void add_block(const Block& block, const Places<kM>& x, __m512* acc) {
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    const __m512 w = block.value(t);
#pragma GCC unroll 12
    for (int i = 0; i < kM; ++i) acc[i] = _mm512_fmadd_ps(w, x.at(t, i), acc[i]);
  }
}

/// W: a stretch of a weight row. kStretch: how many elements; kBytes of 64 of them, at `bytes`;
/// start(chunk); block(j), 64 elements whose value(t) are 16, and last(j, left), the end of a row.
template <class W, int kM>
static void run_in_step(const MatmulArgs& args, int64_t n0, int64_t count) {
  constexpr int kN = kInStep<kM>;
  __m512 acc[kN][kM];
#pragma GCC unroll 4
  for (int r = 0; r < kN; ++r)
#pragma GCC unroll 12
    for (int i = 0; i < kM; ++i) acc[r][i] = _mm512_setzero_ps();
  Places<kM> x = places_of<kM>(args);
  const int64_t ahead = bytes_ahead(args, kN);
  for (int64_t k0 = 0; k0 < args.k; k0 += W::kStretch) {
    const int64_t length = args.k - k0 < W::kStretch ? args.k - k0 : W::kStretch;
    W w[kN];
    for (int64_t r = 0; r < kN; ++r)
      w[r].start({args, n0 + (r < count ? r : 0), k0, length, nullptr});
    int64_t j = 0;
    for (; j * 64 + 64 <= length; ++j, x.advance())
#pragma GCC unroll 4
      for (int r = 0; r < kN; ++r) {
        if (j * W::kBytes % 64 == 0) _mm_prefetch(w[r].bytes + W::kBytes * j + ahead, _MM_HINT_T0);
        add_block<kM>(w[r].block(j), x, acc[r]);
      }
    if (j * 64 < length)
#pragma GCC unroll 4
      for (int r = 0; r < kN; ++r) add_block<kM>(w[r].last(j, length - 64 * j), x, acc[r]);
  }
  for (int i = 0; i < kM; ++i) {
    __m512 sums[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) sums[r] = r < kN ? acc[r][i] : _mm512_setzero_ps();
    store_f32(args.y, args.y_type, i * args.y_stride + n0, first16(count),
              _mm512_castps256_ps512(sum_each(sums)));
  }
}

/// Outputs n0 .. n0 + count - 1.
template <class W, int kM>
static void run_rows(const MatmulArgs& args, int64_t n0, int64_t count) {
  for (int64_t n = 0; n < count; n += kInStep<kM>)
    run_in_step<W, kM>(args, n0 + n, count - n < kInStep<kM> ? count - n : kInStep<kM>);
}

template <class W>
static constexpr void (*kRuns[])(const MatmulArgs&, int64_t, int64_t) = {
    run_rows<W, 1>, run_rows<W, 2>, run_rows<W, 3>, run_rows<W, 4>, run_rows<W, 5>, run_rows<W, 6>};

/// Seven rows of x to ten; beyond, panels are as fast.
template <class W>
static constexpr void (*kRunsOfMore[])(const MatmulArgs&, int64_t, int64_t) = {
    run_rows<W, 7>, run_rows<W, 8>, run_rows<W, 9>, run_rows<W, 10>};

}  // namespace stepless::kernels
