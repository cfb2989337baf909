// Few rows of x: a strip's codes go from the mapped rows through registers into the sums.
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

  /// Four codes of every row times what dword j of x holds.
  __attribute__((always_inline)) inline void add_codes(__m512i codes, int j, const uint8_t* x) {
#pragma GCC unroll 12
    for (int i = 0; i < kM; ++i)
#pragma GCC unroll 2
      for (int p = 0; p < kPlanes; ++p) {
        const __m512i four = _mm512_set1_epi32(
            *reinterpret_cast<const int32_t*>(x + (i * kPlanes + p) * F::kPlane + 4 * j));
        add_products(acc[p][j % kHalves][i], codes, four);
      }
  }
};

/// Four bits. Of 32 codes vector 2 t + h holds codes 8 t + h + {0, 2, 4, 6} of every row.
template <class F>
struct Nibbles {
  static constexpr int kBits = 4;
  /// The dwords of a unit from byte `at` on; of the last of a row `left` elements.
  __attribute__((always_inline)) static inline void load(const Rows& rows, int64_t at, int64_t left,
                                                         __m512i* v) {
    if (F::kPlane < kUnit && left < kUnit)
      turn_rows<true>(rows, at, 0xFF, v);
    else
      turn_rows<false>(rows, at, 0xFFFF, v);
  }
  __attribute__((always_inline)) static inline __m512i four(const __m512i* v, int j) {
    const __m512i low = j % 2 == 0 ? v[j / 2] : _mm512_srli_epi16(v[j / 2], 4);
    return bytes_of<F>(_mm512_and_si512(low, _mm512_set1_epi8(15)));
  }
};

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

/// Outputs n0 .. n0 + count - 1. Codes: four(v, j), as bytes, of what load() makes of a unit.
template <class F, class Codes, int kM>
static void run_fused(const MatmulArgs& args, int64_t n0, int64_t count) {
  constexpr int64_t kTogether = kUnit / F::kPlane, kRun = kScaleRun<F>;  // groups
  constexpr int kDwords = F::kPlane / 4;
  const Strip strip = strip_at(args, n0);
  Ahead ahead = ahead_of<F>(args, n0, 1);
  Part x = part_at<F>(args, {0, kM}, 0);
  const int64_t groups = args.k / args.group_size;
  const int64_t units = kTogether > 1 ? 1 : args.group_size / kUnit;
  alignas(64) float scales[kRun][kStrip], biases[F::kAffine ? kRun : 1][kStrip];
  __m512 acc[kM];
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) acc[i] = _mm512_setzero_ps();
  for (int64_t g = 0, unit = 0; g < groups; g += kTogether) {
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
    for (const int64_t end = unit + units; unit < end; ++unit) {
      __m512i v[8];
      if constexpr (Codes::kBits == 4)
        ahead.codes.ask(64 * unit);
      else
        ahead.codes.ask_piece(unit);
      Codes::load(strip.codes, unit * (kUnit * Codes::kBits / 8), args.k - unit * kUnit, v);
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        if (kTogether > 1 && j == 4) {
          end_group<F, kM>(sums, scales[g % kRun], nullptr, x, acc);
          sums.start(x.starts);
        }
        sums.add_codes(Codes::four(v, j), j % kDwords, x.planes);
        if ((j + 1) % kDwords == 0) x.planes += kM * F::kPlanes * F::kPlane;
      }
    }
    const int64_t last = (g + kTogether - 1) % kRun;
    end_group<F, kM>(sums, scales[last], biases[F::kAffine ? last : 0], x, acc);
  }
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) store_strip<F>(args, strip, i, n0, count, acc[i]);
}

}  // namespace stepless::kernels
