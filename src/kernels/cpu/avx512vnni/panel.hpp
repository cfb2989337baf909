// More rows of x than a fused tile takes: two strips are split, chunk after chunk, into panels that
// stay in L1 while all rows of x pass, twelve by thirty-two outputs at a time. Static only: nothing
// here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/fused.hpp"
#include "kernels/cpu/avx512vnni/meet.hpp"

namespace stepless::kernels {

static constexpr int64_t kChunk = 512;      // a multiple of every group size
static constexpr int kWide = 2;             // strips side by side
static constexpr int64_t kMostBlocks = 16;  // whose accumulators wait in L1 for the next chunk

/// Codes of a chunk as bytes: vector 8 u + j holds in lane r four codes of row r that a dword of
/// prepared x meets. Scales and biases of its groups.
struct Panel {
  alignas(64) uint8_t codes[kChunk / 4][64];
  alignas(64) float scales[kChunk / 16][kStrip];
  alignas(64) float biases[kChunk / 32][kStrip];
};

/// Scales and biases of elements k0 to k0 + length - 1.
template <class F>
static inline void read_panel_scales(const MatmulArgs& args, const Strip& strip, int64_t k0,
                                     int64_t length, Ahead& ahead, Panel& panel) {
  const int64_t g = k0 / args.group_size, groups = length / args.group_size;
  constexpr int64_t kSize = F::kAffine ? 2 : 1;
  read_scales<F>(args, strip.scales, g, groups, panel.scales);
  Ahead::ask(ahead.scales, groups * kSize * kStrip / 64 + 1);
  if constexpr (F::kAffine) {
    read_scales<F>(args, strip.biases, g, groups, panel.biases);
    Ahead::ask(ahead.biases, groups * kSize * kStrip / 64 + 1);
  }
}

/// The same elements, codes and all.
template <class F, class C>
static inline void decode(const MatmulArgs& args, const Strip& strip, int64_t k0, int64_t length,
                          Ahead& ahead, Panel& panel) {
  read_panel_scales<F>(args, strip, k0, length, ahead, panel);
  for (int64_t u = 0; u * kUnit < length; ++u) {
    __m512i v[8];
    C::load(strip.codes, (k0 + u * kUnit) * C::kBits / 8, length - u * kUnit, v);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) _mm512_store_si512(panel.codes[8 * u + j], C::four(v, j));
  }
}

/// A chunk of the strips side by side, and what is asked for while it is multiplied: asked for in
/// the shorter time in which it is decoded, m = 13 takes a fifth more.
struct Chunk {
  Panel panels[kWide];
  Ahead ahead[kWide];
  int64_t first;  // piece of kPlane elements
};

/// Plane p of one group, `count` pieces from `piece` on: code times x is added to the sums.
template <class F, int kM>
__attribute__((always_inline)) static inline void add_plane(const Chunk& chunk, int p,
                                                            int64_t piece, int64_t count,
                                                            const uint8_t* x, __m512i (*sums)[kM]) {
  constexpr int kDwords = F::kPlane / 4, kStep = F::kPlanes * F::kPlane;
  x += p * F::kPlane;
#pragma GCC unroll 1
  for (const int64_t end = piece + count; piece < end; ++piece, x += kM * kStep) {
#pragma GCC unroll 2
    for (int s = p; s < kWide; s += F::kPlanes) chunk.ahead[s].codes.ask_piece(chunk.first + piece);
#pragma GCC unroll 8
    for (int j = 0; j < kDwords; ++j) {
      __m512i w[kWide];
#pragma GCC unroll 2
      for (int s = 0; s < kWide; ++s)
        w[s] = _mm512_load_si512(chunk.panels[s].codes[kDwords * piece + j]);
#pragma GCC unroll 12
      for (int i = 0; i < kM; ++i) {
        const __m512i four =
            _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(x + i * kStep + 4 * j));
#pragma GCC unroll 2
        for (int s = 0; s < kWide; ++s) add_products(sums[s][i], w[s], four);
      }
    }
  }
}

/// `groups` groups of so many pieces into the accumulators of kM rows, which stay in memory:
/// registers hold the integers.
template <class F, int kM>
static void multiply(const Chunk& chunk, Part x, int64_t groups, int64_t pieces, float* to) {
  for (int64_t g = 0; g < groups; ++g) {
    __m512i sums[kWide][kM];
#pragma GCC unroll 2
    for (int s = 0; s < kWide; ++s)
#pragma GCC unroll 12
      for (int i = 0; i < kM; ++i) sums[s][i] = _mm512_setzero_si512();
    add_plane<F, kM>(chunk, 0, pieces * g, pieces, x.planes, sums);
    if constexpr (F::kPlanes == 2) {
#pragma GCC unroll 2
      for (int s = 0; s < kWide; ++s)
#pragma GCC unroll 12
        for (int i = 0; i < kM; ++i) {
          sums[s][i] = _mm512_slli_epi32(sums[s][i], 8);
          if constexpr (!F::kAffine)
            sums[s][i] = _mm512_add_epi32(sums[s][i], _mm512_set1_epi32(x.starts[i]));
        }
      add_plane<F, kM>(chunk, 1, pieces * g, pieces, x.planes, sums);
    }
    // Or gcc 12 keeps the accumulators in registers from group to group and the integers in memory.
    asm volatile("" ::: "memory");
#pragma GCC unroll 2
    for (int s = 0; s < kWide; ++s) {
      const __m512 scale = _mm512_load_ps(chunk.panels[s].scales[g]);
#pragma GCC unroll 12
      for (int i = 0; i < kM; ++i) {
        float* const at = to + kStrip * (kWide * i + s);
        const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x.scales[i]));
        __m512 acc = _mm512_load_ps(at);
        if constexpr (F::kAffine)
          acc = _mm512_fmadd_ps(_mm512_load_ps(chunk.panels[s].biases[g]),
                                _mm512_set1_ps(x.sums[i]), acc);
        _mm512_store_ps(at, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[s][i]), both, acc));
      }
    }
    x.planes += pieces * kM * F::kPlanes * F::kPlane;
    x.scales += kM, x.sums += kM, x.starts += kM;
  }
}

/// The same where x has two planes and weights are affine, strip by strip: 1 to 2 % less time from
/// 28 rows on.
template <class F, int kM>
static void meet_panels(const Chunk& chunk, Part x, int64_t groups, int64_t pieces, float* to) {
  for (int64_t g = 0; g < groups; ++g) {
    for (int s = 0; s < kWide; ++s) {
      const Panel& panel = chunk.panels[s];
      for (int64_t piece = pieces * g; piece < pieces * (g + 1); ++piece)
        chunk.ahead[s].codes.ask_piece(chunk.first + piece);
      meet<kM, kWide * kStrip>(
          {panel.codes[8 * pieces * g], panel.scales[g], panel.biases[g], x, to + kStrip * s},
          pieces);
    }
    x.planes += pieces * kM * F::kPlanes * F::kPlane;
    x.scales += kM, x.sums += kM;
  }
}

template <class F, int kM>
static void multiply_or_meet(const Chunk& chunk, Part x, int64_t groups, int64_t pieces,
                             float* to) {
  if constexpr (F::kAffine && F::kPlanes == 2)
    meet_panels<F, kM>(chunk, x, groups, pieces, to);
  else
    multiply<F, kM>(chunk, x, groups, pieces, to);
}

using Multiply = void (*)(const Chunk& chunk, Part x, int64_t groups, int64_t pieces, float* to);

template <class F>
static inline Multiply multiply_of(int64_t rows) {
  static constexpr Multiply kByRows[kMostRows] = {
      multiply_or_meet<F, 1>,  multiply_or_meet<F, 2>,  multiply_or_meet<F, 3>,
      multiply_or_meet<F, 4>,  multiply_or_meet<F, 5>,  multiply_or_meet<F, 6>,
      multiply_or_meet<F, 7>,  multiply_or_meet<F, 8>,  multiply_or_meet<F, 9>,
      multiply_or_meet<F, 10>, multiply_or_meet<F, 11>, multiply_or_meet<F, 12>};
  return kByRows[rows - 1];
}

/// Outputs n0 .. n0 + count - 1 of the rows of x in blocks [begin, end).
template <class F, class C>
static void run_strips(const MatmulArgs& args, int64_t begin, int64_t end, int64_t n0,
                       int64_t count) {
  alignas(64) float sums[kMostBlocks * kMostRows * kWide * kStrip];
  Chunk chunk;
  const int64_t second = count > kStrip ? n0 + kStrip : n0;  // the first strip again, not stored
  const Strip strips[kWide] = {strip_at(args, n0), strip_at(args, second)};
  for (int s = 0; s < kWide; ++s) chunk.ahead[s] = ahead_of<F>(args, s == 0 ? n0 : second, kWide);
  const int64_t first = block_at(args, begin).first;
  const Block last = block_at(args, end - 1);
  const int64_t rows = last.first + last.rows - first;
  for (int64_t i = 0; i < rows * kWide; ++i)
    _mm512_store_ps(sums + kStrip * i, _mm512_setzero_ps());
  for (int64_t k0 = 0; k0 < args.k; k0 += kChunk) {
    const int64_t length = least(args.k - k0, kChunk);
    chunk.first = k0 / F::kPlane;
    for (int s = 0; s < kWide; ++s)
      decode<F, C>(args, strips[s], k0, length, chunk.ahead[s], chunk.panels[s]);
    for (int64_t b = begin; b < end; ++b) {
      const Block block = block_at(args, b);
      multiply_of<F>(block.rows)(chunk, part_at<F>(args, block, k0), length / args.group_size,
                                 args.group_size / F::kPlane,
                                 sums + (block.first - first) * kWide * kStrip);
    }
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t s = 0; s * kStrip < count; ++s)
      store_strip<F>(args, strips[s], first + i, n0 + kStrip * s, least(count - kStrip * s, kStrip),
                     _mm512_load_ps(sums + kStrip * (kWide * i + s)));
}

/// All rows of x: as many at a time as stay in L2 while the slice of weights passes, 1 MiB of
/// planes.
template <class F, class C>
static void run_panels(const MatmulArgs& args, Slice units) {
  const int64_t fit = (1 << 20) / (F::kPlanes * kMostRows * padded(args.k));
  const int64_t step = fit < 1 ? 1 : least(fit, kMostBlocks), blocks = count_blocks(args);
  for (int64_t b = 0; b < blocks; b += step)
    for (int64_t n = units.begin; n < units.end; n += kWide * kStrip)
      run_strips<F, C>(args, b, least(b + step, blocks), n, least(units.end - n, kWide * kStrip));
}

}  // namespace stepless::kernels
