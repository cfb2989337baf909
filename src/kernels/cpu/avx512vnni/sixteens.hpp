// Up to twelve rows of x times codes of E2M1 in groups of sixteen, two of them to a unit, as
// fused.hpp does those of larger groups. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/fused.hpp"

namespace stepless::kernels {

/// Eight codes a row in each of two dwords times x, into the accumulators. The next group of x.
template <class F, int kM>
__attribute__((always_inline)) static inline void add_sixteen(const __m512i* dwords,
                                                              const float* scales, Part& x,
                                                              __m512* acc) {
  constexpr int kStep = F::kPlanes * F::kPlane;
  __m512i high[kM], low[kM];
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) {
    // Or gcc 12 keeps a zero in a register and copies it.
    asm volatile("vpxor %x0, %x0, %x0" : "=x"(high[i]));
    low[i] = _mm512_set1_epi32(x.starts[i]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i codes = Codes<F, 4>::four(dwords, j);
#pragma GCC unroll 12
    for (int i = 0; i < kM; ++i) {
      add_products_of(high[i], codes, x.planes + i * kStep + 4 * j);
      add_products_of(low[i], codes, x.planes + i * kStep + F::kPlane + 4 * j);
    }
  }
  const __m512 scale = _mm512_load_ps(scales);
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) {
    const __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(high[i], 8), low[i]);
    const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x.scales[i]));
    acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), both, acc[i]);
  }
  x.planes += kM * kStep, x.scales += kM, x.starts += kM;
}

/// Outputs n0 .. n0 + count - 1.
template <class F, int kM>
static void run_sixteens(const MatmulArgs& args, int64_t n0, int64_t count) {
  using C = Codes<F, 4>;
  constexpr int64_t kRun = kScaleRun<F>;  // groups
  Strip strip = strip_at(args, n0);
  Ahead ahead = ahead_of<F>(args, n0, 1);
  Part x = part_at<F>(args, {0, kM}, 0);
  const int64_t groups = args.k / args.group_size, whole = groups / 2;
  Queue<C::kBytes> queue;
  for (int64_t u = 0; u < least(queue.kAhead, whole); ++u) queue.put(strip.codes, u);
  alignas(64) float scales[kRun][kStrip];
  __m512i v[4];
  __m512 acc[kM];
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) acc[i] = _mm512_setzero_ps();
  for (int64_t g = 0; g < groups; g += kRun) {
    const int64_t left = least(groups - g, kRun);
    read_scales<F>(args, strip.scales, g, left, scales);
    Ahead::ask(ahead.scales, 16 * kStrip / 64);
    for (int64_t at = 0; at + 1 < left; at += 2) {
      const int64_t unit = (g + at) / 2;
      renew(strip, x);
      ahead.codes.ask(64 * unit);
      queue.put(strip.codes, least(unit + queue.kAhead, whole - 1));
      queue.take(unit, v);
      add_sixteen<F, kM>(v, scales[at], x, acc);
      add_sixteen<F, kM>(v + 2, scales[at + 1], x, acc);
    }
  }
  if (groups % 2 != 0) {
    C::load(strip.codes, whole * C::kBytes, F::kPlane, v);
    add_sixteen<F, kM>(v, scales[(groups - 1) % kRun], x, acc);
  }
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) store_strip<F>(args, strip, i, n0, count, acc[i]);
}

}  // namespace stepless::kernels
