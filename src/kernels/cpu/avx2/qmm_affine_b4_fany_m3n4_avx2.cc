// Affine 4-bit weights for up to three rows of x: four weight rows in step, decoded into registers.
// Values and order of summation are those of tile.hpp, so this row takes turns with the tiles that
// serve more rows of x.
#include "kernels/cpu/avx2/tile.hpp"

namespace stepless::kernels {

static constexpr int64_t kStretch =
    64 * kChunkGroups;  // scales are decoded for this much of k at a time

/// 64 codes of one weight row times kM rows of x.
template <int kM>
static inline void add_block(const Nibbles& n, __m256 scale, __m256 bias, const float* x,
                             __m256* acc) {
#pragma GCC unroll 8
  for (int t = 0; t < 8; ++t) {
    const __m256 w = _mm256_fmadd_ps(_mm256_cvtepi32_ps(take_nibbles(n, t)), scale, bias);
#pragma GCC unroll 3
    for (int i = 0; i < kM; ++i)
      acc[i] = _mm256_fmadd_ps(w, _mm256_load_ps(x + (t * kM + i) * 8), acc[i]);
  }
}

template <int kM>
static void run_rows(const MatmulArgs& args, int64_t n0, int64_t count) {
  const int shift = args.group_size == 64 ? 0 : 1;
  __m256 acc[kRows][kM];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 3
    for (int i = 0; i < kM; ++i) acc[r][i] = _mm256_setzero_ps();
  const float* x = block_of(args, 0);
  const int64_t ahead = bytes_ahead(args);
  for (int64_t k0 = 0; k0 < args.k; k0 += kStretch) {
    const int64_t length = min_of(args.k - k0, kStretch);
    ChunkScales s[kRows];
    const uint8_t* bytes[kRows];
    for (int64_t r = 0; r < kRows; ++r) {
      const Chunk c = {args, n0 + (r < count ? r : 0), k0, length, nullptr};
      read_scales(c, s[r]);
      bytes[r] = chunk_bytes(c, 4);
    }
    int64_t j = 0;
    for (; j * 64 + 64 <= length; ++j, x += 64 * kM)
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        if (j % 2 == 0)
          _mm_prefetch(reinterpret_cast<const char*>(bytes[r] + 32 * j + ahead), _MM_HINT_T0);
        add_block<kM>(load_nibbles(bytes[r] + 32 * j), _mm256_set1_ps(s[r].scale[j >> shift]),
                      _mm256_set1_ps(s[r].bias[j >> shift]), x, acc[r]);
      }
    if (j * 64 < length)
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r)
        add_block<kM>(load_last_nibbles(bytes[r] + 32 * j, length - 64 * j),
                      _mm256_set1_ps(s[r].scale[j >> shift]), _mm256_set1_ps(s[r].bias[j >> shift]),
                      x, acc[r]);
  }
  for (int i = 0; i < kM; ++i) {
    const __m256 sums[kRows] = {acc[0][i], acc[1][i], acc[2][i], acc[3][i]};
    store_f32(args.y, args.y_type, i * args.y_stride + n0, count, sum_each(sums));
  }
}

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  static constexpr void (*kRuns[])(const MatmulArgs&, int64_t, int64_t) = {run_rows<1>, run_rows<2>,
                                                                           run_rows<3>};
  for (int64_t n = units.begin; n < units.end; n += kRows)
    kRuns[args.m - 1](args, n, min_of(units.end - n, kRows));
}

STEPLESS_KERNEL(qmm_affine_b4_fany_m3n4_avx2) = {prepare_rows<true>, run, nullptr};

}  // namespace stepless::kernels
