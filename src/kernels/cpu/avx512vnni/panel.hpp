// More rows of x than a fused tile takes: two strips are split, chunk after chunk, into panels that
// stay in L1 while all rows of x pass, twelve by thirty-two outputs at a time. Static only: nothing
// here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/strip.hpp"

namespace stepless::kernels {

static constexpr int64_t kChunk = 512;      // a multiple of every group size
static constexpr int kWide = 2;             // strips side by side
static constexpr int64_t kMostBlocks = 16;  // whose accumulators wait in L1 for the next chunk

/// Codes of a chunk as bytes: vector 8 u + j holds in lane r four codes of row r that a dword of
/// prepared x meets. Scales and biases of its groups.
struct Panel {
  alignas(64) uint8_t codes[kChunk / 4][64];
  alignas(64) float scales[kChunk / 32][kStrip];
  alignas(64) float biases[kChunk / 32][kStrip];
};

/// Four bits: dword 2 t + h of 32 codes holds codes 8 t + h + {0, 2, 4, 6}.
struct Nibbles {
  static constexpr int64_t kLines = kStrip * kUnit / 2 / 64;
  static void decode(const Rows& rows, int64_t element, uint8_t (*to)[64]) {
    const __m512i nibbles = _mm512_set1_epi8(15);
    __m512i v[4];
    turn_rows<false>(rows, element / 2, 0xFF, v);
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) {
      _mm512_store_si512(to[2 * t], _mm512_and_si512(v[t], nibbles));
      _mm512_store_si512(to[2 * t + 1], _mm512_and_si512(_mm512_srli_epi16(v[t], 4), nibbles));
    }
  }
};

/// Elements k0 to k0 + length - 1.
template <class Codes>
static inline void decode(const MatmulArgs& args, const Strip& strip, int64_t k0, int64_t length,
                          Ahead& ahead, Panel& panel) {
  const int64_t g = k0 / args.group_size, groups = length / args.group_size;
  read_scales(strip.scales, g, groups, args.w_type, panel.scales);
  read_scales(strip.biases, g, groups, args.w_type, panel.biases);
  Ahead::ask(ahead.scales, groups * 2 * kStrip / 64 + 1);
  Ahead::ask(ahead.biases, groups * 2 * kStrip / 64 + 1);
  for (int64_t u = 0; u * kUnit < length; ++u) {
    Ahead::ask(ahead.codes, Codes::kLines);
    Codes::decode(strip.codes, k0 + u * kUnit, panel.codes + 8 * u);
  }
}

/// A block of x from some group on.
struct Part {
  const uint8_t* planes;
  const float *scales, *sums;
};

/// One plane of one group, `units` times 32 elements: code times x is added to the sums.
template <int kPlanes, int kM>
__attribute__((always_inline)) static inline void add_plane(const Panel* panels, int64_t first,
                                                            const uint8_t* x, int64_t units,
                                                            __m512i (*sums)[kM]) {
#pragma GCC unroll 1
  for (int64_t u = 0; u < units; ++u, first += 8, x += kM * kPlanes * kPlane)
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      __m512i w[kWide];
#pragma GCC unroll 2
      for (int s = 0; s < kWide; ++s) w[s] = _mm512_load_si512(panels[s].codes[first + j]);
#pragma GCC unroll 12
      for (int i = 0; i < kM; ++i) {
        const __m512i four =
            _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(x + i * kPlanes * kPlane + 4 * j));
#pragma GCC unroll 2
        for (int s = 0; s < kWide; ++s) add_products(sums[s][i], w[s], four);
      }
    }
}

/// `groups` groups of the panels into the accumulators of kM rows, which stay in memory: registers
/// hold the integers.
template <int kPlanes, int kM>
static void multiply(const Panel* panels, Part x, int64_t groups, int64_t units, float* to) {
  for (int64_t g = 0; g < groups; ++g) {
    __m512i sums[kWide][kM];
#pragma GCC unroll 2
    for (int s = 0; s < kWide; ++s)
#pragma GCC unroll 12
      for (int i = 0; i < kM; ++i) sums[s][i] = _mm512_setzero_si512();
    add_plane<kPlanes, kM>(panels, 8 * units * g, x.planes, units, sums);
    if constexpr (kPlanes == 2) {
#pragma GCC unroll 2
      for (int s = 0; s < kWide; ++s)
#pragma GCC unroll 12
        for (int i = 0; i < kM; ++i) sums[s][i] = _mm512_slli_epi32(sums[s][i], 8);
      add_plane<kPlanes, kM>(panels, 8 * units * g, x.planes + kPlane, units, sums);
    }
    // Or gcc 12 keeps the accumulators in registers from group to group and the integers in memory.
    asm volatile("" ::: "memory");
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
    x.planes += units * kM * kPlanes * kPlane;
    x.scales += kM, x.sums += kM;
  }
}

using Multiply = void (*)(const Panel* panels, Part x, int64_t groups, int64_t units, float* to);

template <int kPlanes>
static inline Multiply multiply_of(int64_t rows) {
  static constexpr Multiply kByRows[kMostRows] = {
      multiply<kPlanes, 1>, multiply<kPlanes, 2>,  multiply<kPlanes, 3>,  multiply<kPlanes, 4>,
      multiply<kPlanes, 5>, multiply<kPlanes, 6>,  multiply<kPlanes, 7>,  multiply<kPlanes, 8>,
      multiply<kPlanes, 9>, multiply<kPlanes, 10>, multiply<kPlanes, 11>, multiply<kPlanes, 12>};
  return kByRows[rows - 1];
}

/// Outputs n0 .. n0 + count - 1 of the rows of x in blocks [begin, end).
template <int kPlanes, class Codes>
static void run_strips(const MatmulArgs& args, int64_t begin, int64_t end, int64_t n0,
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
    for (int s = 0; s < kWide; ++s) decode<Codes>(args, strips[s], k0, length, ahead[s], panels[s]);
    for (int64_t b = begin; b < end; ++b) {
      const Block block = block_at(args, b);
      const Part x = {planes_of<kPlanes>(args, block) + kPlanes * k0 * block.rows,
                      x_scales_of<kPlanes>(args, block) + g * block.rows,
                      x_sums_of<kPlanes>(args, block) + g * block.rows};
      multiply_of<kPlanes>(block.rows)(panels, x, length / args.group_size, args.group_size / kUnit,
                                       sums + (block.first - first) * kWide * kStrip);
    }
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t s = 0; s * kStrip < count; ++s)
      store_strip(args, strips[s], first + i, n0 + kStrip * s, least(count - kStrip * s, kStrip),
                  _mm512_load_ps(sums + kStrip * (kWide * i + s)));
}

/// All rows of x: as many at a time as stay in L2 while the slice of weights passes, 1 MiB of
/// planes.
template <int kPlanes, class Codes>
static void run_panels(const MatmulArgs& args, Slice units) {
  const int64_t fit = (1 << 20) / (kPlanes * kMostRows * padded(args.k));
  const int64_t step = fit < 1 ? 1 : least(fit, kMostBlocks), blocks = count_blocks(args);
  for (int64_t b = 0; b < blocks; b += step)
    for (int64_t n = units.begin; n < units.end; n += kWide * kStrip)
      run_strips<kPlanes, Codes>(args, b, least(b + step, blocks), n,
                                 least(units.end - n, kWide * kStrip));
}

}  // namespace stepless::kernels
