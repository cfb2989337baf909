// More rows of x than a fused tile takes: two strips are split, chunk after chunk, into panels that
// stay in L1 while all rows of x pass, twelve by thirty-two outputs at a time. Static only: nothing
// here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/strip.hpp"

namespace stepless::kernels {

static constexpr int64_t kChunk = 512;      // a multiple of every group size
static constexpr int kWide = 2;             // strips side by side
static constexpr int64_t kMostBlocks = 16;  // whose accumulators wait in L1 for the next chunk

/// Codes of a chunk, split: vector 8 u + 2 t + h holds in byte b of lane r code 32 u + 8 t + h + 2
/// b of row r. Scales and biases of its groups.
struct Panel {
  alignas(64) uint8_t codes[kChunk / 4][64];
  alignas(64) float scales[kChunk / 32][kStrip];
  alignas(64) float biases[kChunk / 32][kStrip];
};

/// Elements k0 to k0 + length - 1.
static inline void decode(const MatmulArgs& args, const Strip& strip, int64_t k0, int64_t length,
                          Ahead& ahead, Panel& panel) {
  const int64_t g = k0 / args.group_size, groups = length / args.group_size;
  read_scales(strip.scales, g, groups, args.w_type, panel.scales);
  read_scales(strip.biases, g, groups, args.w_type, panel.biases);
  Ahead::ask(ahead.scales, groups * 2 * kStrip / 64 + 1);
  Ahead::ask(ahead.biases, groups * 2 * kStrip / 64 + 1);
  const __m512i nibbles = _mm512_set1_epi8(15);
  for (int64_t u = 0; u * kUnit < length; ++u) {
    __m512i v[4];
    Ahead::ask(ahead.codes, kStrip * kUnit / 2 / 64);
    turn_rows<false>(strip.codes, (k0 + u * kUnit) / 2, 0xFF, v);
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) {
      uint8_t(*const to)[64] = panel.codes + 8 * u + 2 * t;
      _mm512_store_si512(to[0], _mm512_and_si512(v[t], nibbles));
      _mm512_store_si512(to[1], _mm512_and_si512(_mm512_srli_epi16(v[t], 4), nibbles));
    }
  }
}

/// A block of x from some group on.
struct Part {
  const uint8_t* planes;
  const float *scales, *sums;
};

/// One plane of one group, `units` times 32 elements: code times x is added to the sums.
template <int kM>
__attribute__((always_inline)) static inline void add_plane(const Panel* panels, int64_t first,
                                                            const uint8_t* x, int64_t units,
                                                            __m512i (*sums)[kM]) {
#pragma GCC unroll 1
  for (int64_t u = 0; u < units; ++u, first += 8, x += kM * kUnitBytes)
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      __m512i w[kWide];
#pragma GCC unroll 2
      for (int s = 0; s < kWide; ++s) w[s] = _mm512_load_si512(panels[s].codes[first + j]);
#pragma GCC unroll 12
      for (int i = 0; i < kM; ++i) {
        const __m512i four =
            _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(x + i * kUnitBytes + 4 * j));
#pragma GCC unroll 2
        for (int s = 0; s < kWide; ++s) sums[s][i] = _mm512_dpbusd_epi32(sums[s][i], w[s], four);
      }
    }
}

/// `groups` groups of the panels into the accumulators of kM rows, which stay in memory: registers
/// hold the integers.
template <int kM>
static void multiply(const Panel* panels, Part x, int64_t groups, int64_t units, float* to) {
  for (int64_t g = 0; g < groups; ++g) {
    __m512i sums[kWide][kM];
#pragma GCC unroll 2
    for (int s = 0; s < kWide; ++s)
#pragma GCC unroll 12
      for (int i = 0; i < kM; ++i) sums[s][i] = _mm512_setzero_si512();
    add_plane<kM>(panels, 8 * units * g, x.planes, units, sums);
#pragma GCC unroll 2
    for (int s = 0; s < kWide; ++s)
#pragma GCC unroll 12
      for (int i = 0; i < kM; ++i) sums[s][i] = _mm512_slli_epi32(sums[s][i], 8);
    add_plane<kM>(panels, 8 * units * g, x.planes + 32, units, sums);
#pragma GCC unroll 2
    for (int s = 0; s < kWide; ++s) {
      const __m512 scale = _mm512_load_ps(panels[s].scales[g]),
                   bias = _mm512_load_ps(panels[s].biases[g]);
#pragma GCC unroll 12
      for (int i = 0; i < kM; ++i) {
        float* const at = to + kStrip * (kWide * i + s);
        const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x.scales[i]));
        const __m512 acc = _mm512_fmadd_ps(bias, _mm512_set1_ps(x.sums[i]), _mm512_load_ps(at));
        _mm512_store_ps(at, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[s][i]), both, acc));
      }
    }
    x.planes += units * kM * kUnitBytes;
    x.scales += kM, x.sums += kM;
  }
}

using Multiply = void (*)(const Panel* panels, Part x, int64_t groups, int64_t units, float* to);

/// Blocks of more than twelve rows have six or more each.
static inline Multiply multiply_of(int64_t rows) {
  static constexpr Multiply kByRows[] = {multiply<6>,  multiply<7>,  multiply<8>, multiply<9>,
                                         multiply<10>, multiply<11>, multiply<12>};
  return kByRows[rows - 6];
}

/// Outputs n0 .. n0 + count - 1 of the rows of x in blocks [begin, end).
static void run_panels(const MatmulArgs& args, int64_t begin, int64_t end, int64_t n0,
                       int64_t count) {
  alignas(64) float sums[kMostBlocks * kMostRows * kWide * kStrip];
  Panel panels[kWide];
  const int64_t second = count > kStrip ? n0 + kStrip : n0;  // the first strip again, not stored
  const Strip strips[kWide] = {strip_at(args, n0), strip_at(args, second)};
  Ahead ahead[kWide] = {ahead_of(args, strips[0], kWide), ahead_of(args, strips[1], kWide)};
  const int64_t first = block_at(args, begin).first;
  const Block last = block_at(args, end - 1);
  const int64_t rows = last.first + last.rows - first;
  for (int64_t i = 0; i < rows * kWide; ++i)
    _mm512_store_ps(sums + kStrip * i, _mm512_setzero_ps());
  for (int64_t k0 = 0; k0 < args.k; k0 += kChunk) {
    const int64_t length = least(args.k - k0, kChunk), g = k0 / args.group_size;
    for (int s = 0; s < kWide; ++s) decode(args, strips[s], k0, length, ahead[s], panels[s]);
    for (int64_t b = begin; b < end; ++b) {
      const Block block = block_at(args, b);
      const Part x = {planes_of(args, block) + 2 * k0 * block.rows,
                      x_scales_of(args, block) + g * block.rows,
                      x_sums_of(args, block) + g * block.rows};
      multiply_of(block.rows)(panels, x, length / args.group_size, args.group_size / kUnit,
                              sums + (block.first - first) * kWide * kStrip);
    }
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t s = 0; s * kStrip < count; ++s)
      store_strip(args, strips[s], first + i, n0 + kStrip * s, least(count - kStrip * s, kStrip),
                  _mm512_load_ps(sums + kStrip * (kWide * i + s)));
}

}  // namespace stepless::kernels
