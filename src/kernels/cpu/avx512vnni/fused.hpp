// Up to twelve rows of x: a strip's codes go from the mapped rows through registers into the sums.
// Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/strip.hpp"

namespace stepless::kernels {

/// The integer sums of a group. A VPDPBUSD takes five cycles and two begin in one: few rows of x
/// keep halves apart.
template <int kPlanes, int kM>
struct FusedSums {
  static constexpr int kHalves = kPlanes * kM <= 4 ? 2 : 1;
  __m512i acc[kPlanes][kHalves][kM];

  __attribute__((always_inline)) inline void clear() {
#pragma GCC unroll 2
    for (int p = 0; p < kPlanes; ++p)
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h)
#pragma GCC unroll 12
        for (int i = 0; i < kM; ++i) acc[p][h][i] = _mm512_setzero_si512();
  }

  __attribute__((always_inline)) inline __m512i plane(int p, int i) const {
    if (kHalves == 1) return acc[p][0][i];
    return _mm512_add_epi32(acc[p][0][i], acc[p][kHalves - 1][i]);
  }

  __attribute__((always_inline)) inline __m512i whole(int i) const {
    if (kPlanes == 1) return plane(0, i);
    return _mm512_add_epi32(_mm512_slli_epi32(plane(0, i), 8), plane(kPlanes - 1, i));
  }
};

/// The codes of one dword of every row, times x.
template <int kPlanes, int kM>
__attribute__((always_inline)) static inline void add_dword(__m512i v, const uint8_t* x,
                                                            FusedSums<kPlanes, kM>& sums) {
  const __m512i nibbles = _mm512_set1_epi8(15);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m512i codes = _mm512_and_si512(h == 0 ? v : _mm512_srli_epi16(v, 4), nibbles);
#pragma GCC unroll 12
    for (int i = 0; i < kM; ++i)
#pragma GCC unroll 2
      for (int p = 0; p < kPlanes; ++p) {
        const __m512i four = _mm512_set1_epi32(
            *reinterpret_cast<const int32_t*>(x + (i * kPlanes + p) * kPlane + 4 * h));
        add_products(sums.acc[p][h % FusedSums<kPlanes, kM>::kHalves][i], codes, four);
      }
  }
}

/// Outputs n0 .. n0 + count - 1.
template <int kPlanes, int kM>
static void run_fused(const MatmulArgs& args, int64_t n0, int64_t count) {
  const Strip strip = strip_at(args, n0);
  Ahead ahead = ahead_of(args, strip, 1);
  const Block block = {0, kM};
  const uint8_t* x = planes_of<kPlanes>(args, block);
  const float *x_scales = x_scales_of<kPlanes>(args, block),
              *x_sums = x_sums_of<kPlanes>(args, block);
  const int64_t groups = args.k / args.group_size, units = args.group_size / kUnit;
  alignas(64) float scales[8][kStrip], biases[8][kStrip];
  __m512 acc[kM];
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) acc[i] = _mm512_setzero_ps();
  Rows codes = strip.codes;
  for (int64_t g = 0; g < groups; ++g) {
    if (g % 8 == 0) {
      const int64_t left = least(groups - g, 8);
      read_scales(strip.scales, g, left, args.w_type, scales);
      read_scales(strip.biases, g, left, args.w_type, biases);
      Ahead::ask(ahead.scales, 8 * 2 * kStrip / 64);
      Ahead::ask(ahead.biases, 8 * 2 * kStrip / 64);
    }
    FusedSums<kPlanes, kM> sums;
    sums.clear();
    for (int64_t u = 0; u < units; ++u, x += kM * kPlanes * kPlane) {
      __m512i v[4];
      Ahead::ask(ahead.codes, kStrip * kUnit / 2 / 64);
      turn_rows<false>(codes, 0, 0xFF, v);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) codes.base[q] += kUnit / 2;
#pragma GCC unroll 4
      for (int t = 0; t < 4; ++t) add_dword<kPlanes, kM>(v[t], x + 8 * t, sums);
    }
    const __m512 scale = _mm512_load_ps(scales[g % 8]), bias = _mm512_load_ps(biases[g % 8]);
#pragma GCC unroll 12
    for (int i = 0; i < kM; ++i) {
      const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x_scales[i]));
      acc[i] = _mm512_fmadd_ps(bias, _mm512_set1_ps(x_sums[i]), acc[i]);
      acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums.whole(i)), both, acc[i]);
    }
    x_scales += kM, x_sums += kM;
  }
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) store_strip(args, strip, i, n0, count, acc[i]);
}

}  // namespace stepless::kernels
