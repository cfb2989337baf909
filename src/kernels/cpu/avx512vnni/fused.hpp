// Up to twelve rows of x: a strip's codes go from the mapped rows through registers into the sums.
// Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/strip.hpp"

namespace stepless::kernels {

/// The integer sums of a group. A VPDPBUSD takes five cycles and two begin in one: few rows of x
/// keep halves apart.
template <class F, int kM>
struct FusedSums {
  static constexpr int kPlanes = F::kPlanes;
  static constexpr int kHalves = kPlanes * kM <= 4 ? 2 : 1;
  __m512i acc[kPlanes][kHalves][kM];

  __attribute__((always_inline)) inline void start(const int32_t* x_starts) {
#pragma GCC unroll 2
    for (int p = 0; p < kPlanes; ++p)
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h)
#pragma GCC unroll 12
        for (int i = 0; i < kM; ++i)
          acc[p][h][i] = !F::kAffine && p == kPlanes - 1 && h == 0 ? _mm512_set1_epi32(x_starts[i])
                                                                   : _mm512_setzero_si512();
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
template <class F, int kM>
__attribute__((always_inline)) static inline void add_dword(__m512i v, const uint8_t* x,
                                                            FusedSums<F, kM>& sums) {
  const __m512i nibbles = _mm512_set1_epi8(15);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m512i codes =
        bytes_of<F>(_mm512_and_si512(h == 0 ? v : _mm512_srli_epi16(v, 4), nibbles));
#pragma GCC unroll 12
    for (int i = 0; i < kM; ++i)
#pragma GCC unroll 2
      for (int p = 0; p < F::kPlanes; ++p) {
        const __m512i four = _mm512_set1_epi32(
            *reinterpret_cast<const int32_t*>(x + (i * F::kPlanes + p) * F::kPlane + 4 * h));
        add_products(sums.acc[p][h % FusedSums<F, kM>::kHalves][i], codes, four);
      }
  }
}

/// A block of x from some group on.
struct Part {
  const uint8_t* planes;
  const float *scales, *sums;
  const int32_t* starts;
};

template <class F>
static inline Part part_at(const MatmulArgs& args, Block block, int64_t k) {
  const int64_t g = k / args.group_size * block.rows;
  return {planes_of<F>(args, block) + F::kPlanes * k * block.rows, x_scales_of<F>(args, block) + g,
          x_sums_of<F>(args, block) + g, x_starts_of<F>(args, block) + g};
}

/// A group's sums into the accumulators; the next group of x.
template <class F, int kM>
__attribute__((always_inline)) static inline void end_group(const FusedSums<F, kM>& sums,
                                                            const float* scales,
                                                            const float* biases, Part& x,
                                                            __m512* acc) {
  const __m512 scale = _mm512_load_ps(scales);
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) {
    const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x.scales[i]));
    if constexpr (F::kAffine)
      acc[i] = _mm512_fmadd_ps(_mm512_load_ps(biases), _mm512_set1_ps(x.sums[i]), acc[i]);
    acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums.whole(i)), both, acc[i]);
  }
  x.scales += kM, x.sums += kM, x.starts += kM;
}

/// Outputs n0 .. n0 + count - 1.
template <class F, int kM>
static void run_fused(const MatmulArgs& args, int64_t n0, int64_t count) {
  constexpr int64_t kTogether = kUnit / F::kPlane, kRun = kScaleRun<F>;  // groups
  const Strip strip = strip_at(args, n0);
  Ahead ahead = ahead_of<F>(args, n0, 1);
  Part x = part_at<F>(args, {0, kM}, 0);
  const int64_t groups = args.k / args.group_size;
  const int64_t units = kTogether > 1 ? 1 : args.group_size / kUnit;
  alignas(64) float scales[kRun][kStrip], biases[F::kAffine ? kRun : 1][kStrip];
  __m512 acc[kM];
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) acc[i] = _mm512_setzero_ps();
  Rows codes = strip.codes;
  int64_t asked = 0;
  for (int64_t g = 0; g < groups; g += kTogether) {
    if (g % kRun == 0) {
      const int64_t left = least(groups - g, kRun);
      read_scales<F>(args, strip.scales, g, left, scales);
      Ahead::ask(ahead.scales, 16 * kStrip / 64);
      if constexpr (F::kAffine) {
        read_scales<F>(args, strip.biases, g, left, biases);
        Ahead::ask(ahead.biases, 16 * kStrip / 64);
      }
    }
    FusedSums<F, kM> sums;
    sums.start(x.starts);
    for (int64_t u = 0; u < units; ++u) {
      __m512i v[4];
      ahead.codes.ask(asked), asked += 64;
      if (kTogether > 1 && groups - g < kTogether)
        turn_rows<true>(codes, 0, 0xFF, v);
      else
        turn_rows<false>(codes, 0, 0xFFFF, v);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) codes.base[q] += kUnit / 2;
#pragma GCC unroll 4
      for (int t = 0; t < 4; ++t) {
        if (kTogether > 1 && t == 2) {
          end_group<F, kM>(sums, scales[g % kRun], nullptr, x, acc);
          sums.start(x.starts);
        }
        add_dword<F, kM>(v[t], x.planes + 8 * t % F::kPlane, sums);
        if ((8 * t + 8) % F::kPlane == 0) x.planes += kM * F::kPlanes * F::kPlane;
      }
    }
    const int64_t last = (g + kTogether - 1) % kRun;
    end_group<F, kM>(sums, scales[last], biases[F::kAffine ? last : 0], x, acc);
  }
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) store_strip<F>(args, strip, i, n0, count, acc[i]);
}

}  // namespace stepless::kernels
