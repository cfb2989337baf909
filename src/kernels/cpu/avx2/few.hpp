// Up to three rows of x: four weight rows in step, decoded into registers. Weights and order of
// summation are those of tile.hpp.
#pragma once
#include "kernels/cpu/avx2/tile.hpp"

namespace stepless::kernels {

/// 64 elements of one weight row times kM rows of x.
template <Mode kMode, int kBits, bool kRare, int kM>
__attribute__((always_inline)) static inline void add_few(const uint8_t* bytes,
                                                          const ChunkScales& s, int64_t j,
                                                          int64_t group_size, const float* x,
                                                          __m256* acc) {
  each_weight<kMode, kBits, kRare>(
      bytes, s, j, group_size, [&](int t, __m256 w) __attribute__((always_inline)) {
#pragma GCC unroll 3
        for (int i = 0; i < kM; ++i)
          acc[i] = _mm256_fmadd_ps(w, _mm256_load_ps(x + (t * kM + i) * 8), acc[i]);
      });
}

/// Elements [k0, k0 + length) of four weight rows.
struct Stretch {
  const MatmulArgs& args;
  int64_t k0, length, ahead;
  const uint8_t* bytes[kRows];
  ChunkScales scales[kRows];
  /// Leaves the arrays as they are: zeros in them are 10 % of the time at k = 1024.
  explicit inline Stretch(const MatmulArgs& of) : args(of), k0(0), ahead(bytes_ahead(of)) {}
};

template <Mode kMode, int kBits, bool kRare, int kM>
static void add_stretch(const Stretch& s, const float* x, __m256* sums) {
  __m256 acc[kRows][kM];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 3
    for (int i = 0; i < kM; ++i) acc[r][i] = sums[r * kM + i];
  const int64_t group_size = s.args.group_size, ahead = s.ahead, blocks = s.length / 64;
  int64_t at = 0;
  for (int64_t j = 0; j < blocks; ++j, x += 64 * kM, at += 8 * kBits)
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      _mm_prefetch(reinterpret_cast<const char*>(s.bytes[r] + at + ahead), _MM_HINT_T0);
      add_few<kMode, kBits, kRare, kM>(s.bytes[r] + at, s.scales[r], j, group_size, x, acc[r]);
    }
  if (s.length % 64 != 0)
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      alignas(32) uint8_t last[8 * kBits] = {};
      memcpy(last, s.bytes[r] + at, static_cast<size_t>(s.length % 64 * kBits / 8));
      add_few<kMode, kBits, kRare, kM>(last, s.scales[r], blocks, group_size, x, acc[r]);
    }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 3
    for (int i = 0; i < kM; ++i) sums[r * kM + i] = acc[r][i];
}

/// Outputs n0 .. n0 + count - 1; where these are fewer than four, the first is computed again in
/// place of those that are missing.
template <Mode kMode, int kBits, int kM>
static void run_few(const MatmulArgs& args, int64_t n0, int64_t count) {
  __m256 sums[kRows * kM];
  for (__m256& sum : sums) sum = _mm256_setzero_ps();
  Stretch s(args);
  const float* x = block_of(args, 0);
  for (const int64_t most = kChunkGroups * args.group_size; s.k0 < args.k; s.k0 += s.length) {
    s.length = min_of(args.k - s.k0, most);
    bool rare = false;
    for (int64_t r = 0; r < kRows; ++r) {
      const Chunk c = {args, n0 + (r < count ? r : 0), s.k0, s.length, nullptr};
      read_scales(c, s.scales[r]);
      s.bytes[r] = chunk_bytes(c, kBits);
      // Affine results are float32 here, and nothing is rounded twice.
      if constexpr (kMode == Mode::mxfp8) rare |= is_rare<kMode>(c, s.scales[r]);
    }
    if (!rare)
      for (ChunkScales& scales : s.scales) fold_scales<kMode>(s.length, scales);
    const auto add = kMode == Mode::mxfp8 && rare
                         ? add_stretch<kMode, kBits, kMode == Mode::mxfp8, kM>
                         : add_stretch<kMode, kBits, false, kM>;
    add(s, x + s.k0 * kM, sums);
  }
  for (int i = 0; i < kM; ++i) {
    const __m256 four[kRows] = {sums[i], sums[kM + i], sums[2 * kM + i], sums[3 * kM + i]};
    store_f32(args.y, args.y_type, i * args.y_stride + n0, count, sum_each(four));
  }
}

}  // namespace stepless::kernels
