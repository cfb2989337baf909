// Up to four rows of x: a strip's codes go from the mapped rows through registers into the sums.
// Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/any/streams.hpp"
#include "kernels/cpu/avxvnni/codes.hpp"

namespace stepless::kernels {

static constexpr int64_t kMostFused = 4;  // rows of x: 16 registers hold the sums of two planes

/// The integer sums of a group. A VPDPBUSD takes five cycles and two begin in one: few rows of x
/// keep parts apart.
template <int kPlanes, int kM>
struct FusedSums {
  static constexpr int kParts = kPlanes * kM <= 2 ? 4 : kPlanes * kM <= 4 ? 2 : 1;
  __m256i acc[kPlanes][kParts][kM];

  __attribute__((always_inline)) inline void clear() {
#pragma GCC unroll 2
    for (int p = 0; p < kPlanes; ++p)
#pragma GCC unroll 4
      for (int j = 0; j < kParts; ++j)
#pragma GCC unroll 4
        for (int i = 0; i < kM; ++i) acc[p][j][i] = _mm256_setzero_si256();
  }

  __attribute__((always_inline)) inline __m256i plane(int p, int i) const {
    __m256i sum = acc[p][0][i];
#pragma GCC unroll 3
    for (int j = 1; j < kParts; ++j) sum = _mm256_add_epi32(sum, acc[p][j][i]);
    return sum;
  }

  __attribute__((always_inline)) inline __m256i whole(int i) const {
    if (kPlanes == 1) return plane(0, i);
    return _mm256_add_epi32(_mm256_slli_epi32(plane(0, i), 8), plane(kPlanes - 1, i));
  }

  /// Four codes of every row times what dword j of x holds.
  __attribute__((always_inline)) inline void add_codes(__m256i codes, int j, const uint8_t* x) {
#pragma GCC unroll 4
    for (int i = 0; i < kM; ++i)
#pragma GCC unroll 2
      for (int p = 0; p < kPlanes; ++p)
        add_products(acc[p][j % kParts][i], codes, four_of(x + (i * kPlanes + p) * kUnit + 4 * j));
  }
};

/// Outputs n0 .. n0 + count - 1.
template <int kPlanes, class Codes, int kM>
static void run_fused(const MatmulArgs& args, int64_t n0, int64_t count) {
  const Strip strip = strip_at(args, n0);
  const Streams ahead = streams_ahead(args, n0, kStrip, 1, kUnit);
  Planes x = planes_at<kPlanes>(args, {0, kM}, 0);
  const int64_t groups = args.k / args.group_size, units = args.group_size / kUnit;
  alignas(32) float scales[8][kStrip], biases[8][kStrip], y[kM][kStrip];
  __m256 acc[kM];
#pragma GCC unroll 4
  for (int i = 0; i < kM; ++i) acc[i] = _mm256_setzero_ps();
  for (int64_t g = 0, unit = 0; g < groups; ++g) {
    if (g % 8 == 0) {
      read_groups<Codes>(args, strip, g, least(groups - g, 8), scales, biases);
    }
    FusedSums<kPlanes, kM> sums;
    sums.clear();
    for (const int64_t end = unit + units; unit < end; ++unit, x.bytes += kM * kPlanes * kUnit) {
      __m256i v[8];
      ahead.ask_piece(unit);
      Codes::load(strip, unit * (kUnit * Codes::kBits / 8), v);
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) sums.add_codes(Codes::four(v, j), j, x.bytes);
    }
    const __m256 scale = _mm256_load_ps(scales[g % 8]), bias = _mm256_load_ps(biases[g % 8]);
#pragma GCC unroll 4
    for (int i = 0; i < kM; ++i)
      acc[i] =
          add_group<Codes::kAffine>(acc[i], sums.whole(i), scale, bias, x.scales + i, x.sums + i);
    x.scales += kM, x.sums += kM;
  }
#pragma GCC unroll 4
  for (int i = 0; i < kM; ++i) _mm256_store_ps(y[i], in_elements<Codes>(acc[i]));
  for (int i = 0; i < kM; ++i) store_strip(args, i, n0, count, y[i]);
}

}  // namespace stepless::kernels
