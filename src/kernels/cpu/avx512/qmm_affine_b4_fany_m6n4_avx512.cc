// Affine 4-bit weights for up to six rows of x: four weight rows in step, decoded into registers.
// Values and order of summation are those of tile.hpp, so this row takes turns with the tiles that
// serve more rows of x.
#include "kernels/cpu/avx512/tile.hpp"

namespace stepless::kernels {

static constexpr int kTileN = 4;
static constexpr int kMost = 2 * kTileM;  // rows of x: two blocks
// Scales are decoded for this much of k at a time: 32 groups. With 512 m = 1 loses 15 % (Emerald
// Rapids, gcc 12).
static constexpr int64_t kStretch = 64 * kChunkGroups;

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

/// 64 codes of one weight row times kM rows of x.
template <int kM>
static inline void add_block(__m512i v, __m512 table, Places x, __m512* acc) {
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    const __m512 w = look_up(v, t, table);
#pragma GCC unroll 6
    for (int i = 0; i < kM; ++i) acc[i] = _mm512_fmadd_ps(w, x_at<kM>(x, t, i), acc[i]);
  }
}

template <int kM>
static void run_rows(const MatmulArgs& args, int64_t n0, int64_t count) {
  const int shift = args.group_size == 64 ? 0 : 1;
  __m512 acc[kTileN][kM];
#pragma GCC unroll 4
  for (int r = 0; r < kTileN; ++r)
#pragma GCC unroll 6
    for (int i = 0; i < kM; ++i) acc[r][i] = _mm512_setzero_ps();
  Places x = {block_of(args, 0), kM > kTileM ? block_of(args, 1) : nullptr};
  const int64_t ahead = bytes_ahead(args, kTileN);
  for (int64_t k0 = 0; k0 < args.k; k0 += kStretch) {
    const int64_t length = args.k - k0 < kStretch ? args.k - k0 : kStretch;
    ChunkScales s[kTileN];
    const uint8_t* bytes[kTileN];
    for (int64_t r = 0; r < kTileN; ++r) {
      const Chunk c = {args, n0 + (r < count ? r : 0), k0, length, nullptr};
      read_scales(c, s[r]);
      bytes[r] = chunk_bytes(c, 4);
    }
    int64_t j = 0;
    for (; j * 64 + 64 <= length; ++j) {
#pragma GCC unroll 4
      for (int r = 0; r < kTileN; ++r) {
        if (j % 2 == 0) _mm_prefetch(bytes[r] + 32 * j + ahead, _MM_HINT_T0);
        add_block<kM>(load_nibbles(bytes[r] + 32 * j), values_of(s[r], j >> shift), x, acc[r]);
      }
      x.low += 64 * (kM < kTileM ? kM : kTileM);
      if (kM > kTileM) x.high += 64 * (kM - kTileM);
    }
    if (j * 64 < length)
#pragma GCC unroll 4
      for (int r = 0; r < kTileN; ++r)
        add_block<kM>(load_last_nibbles(bytes[r] + 32 * j, length - 64 * j),
                      values_of(s[r], j >> shift), x, acc[r]);
  }
  for (int i = 0; i < kM; ++i) {
    __m512 sums[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) sums[r] = r < kTileN ? acc[r][i] : _mm512_setzero_ps();
    store_f32(args.y, args.y_type, i * args.y_stride + n0, first16(count),
              _mm512_castps256_ps512(sum_each(sums)));
  }
}

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  static constexpr void (*kRuns[kMost])(const MatmulArgs&, int64_t, int64_t) = {
      run_rows<1>, run_rows<2>, run_rows<3>, run_rows<4>, run_rows<5>, run_rows<6>};
  for (int64_t n = units.begin; n < units.end; n += kTileN)
    kRuns[args.m - 1](args, n, units.end - n < kTileN ? units.end - n : kTileN);
}

STEPLESS_KERNEL(qmm_affine_b4_fany_m6n4_avx512) = {prepare_rows<true>, run, nullptr};

}  // namespace stepless::kernels
