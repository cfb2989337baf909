// Affine weights times bytes of x: two strips of eight weight rows, a lane of a vector each, are
// split, chunk after chunk, into panels that stay in L1 while all rows of x pass, four by sixteen
// outputs at a time. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx2/i8_codes.hpp"

namespace stepless::kernels {

static constexpr int kWide = 2;             // strips side by side
static constexpr int64_t kChunk = 512;      // a multiple of every group size
static constexpr int64_t kMostBlocks = 48;  // whose accumulators wait in L1 for the next chunk

/// Codes of a chunk as bytes: vector 8 u + j holds in lane r four codes of row r that a dword of
/// prepared x meets; of codes of eight bits their lower halves, and behind all those the upper.
/// Scales and biases of its groups.
struct Panel {
  alignas(32) uint8_t codes[2 * kChunk / 4][32];
  alignas(32) float scales[kChunk / 32][kStrip];
  alignas(32) float biases[kChunk / 32][kStrip];
};

/// Lane r of out[j] is lane j of v[r].
static inline void transpose(const __m256* v, __m256* out) {
  __m256 pairs[8], fours[8];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    pairs[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
    pairs[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i)
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256 a = pairs[4 * i + h], b = pairs[4 * i + 2 + h];
      fours[4 * i + 2 * h] = _mm256_shuffle_ps(a, b, 0x44);
      fours[4 * i + 2 * h + 1] = _mm256_shuffle_ps(a, b, 0xEE);
    }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    out[j] = _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x20);
    out[4 + j] = _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x31);
  }
}

/// Scales or biases of `count` groups from g on of every row.
static inline void read_scales(const MatmulArgs& args, const uint8_t* from, const Strip& strip,
                               int64_t g, int64_t count, float (*to)[kStrip]) {
  const int64_t groups = args.k / args.group_size;
  for (int64_t at = 0; at < count; at += 8) {
    __m256 v[8], out[8];
    for (int64_t r = 0; r < kStrip; ++r)
      v[r] = load_f32(from, args.w_type, strip.row[r] * groups + g + at, count - at);
    transpose(v, out);
    for (int64_t j = 0; j < least(count - at, 8); ++j) _mm256_store_ps(to[at + j], out[j]);
  }
}

/// Elements k0 to k0 + length - 1. `ahead` walks over bytes some strips on, in the order of memory.
template <class Codes>
static inline void decode(const MatmulArgs& args, const Strip& strip, int64_t k0, int64_t length,
                          const uint8_t*& ahead, Panel& panel) {
  const int64_t g = k0 / args.group_size, groups = length / args.group_size;
  read_scales(args, args.scales, strip, g, groups, panel.scales);
  read_scales(args, args.biases, strip, g, groups, panel.biases);
  for (int64_t u = 0; u * kUnit < length; ++u) {
    for (int64_t line = 0; line < Codes::kBits; line += 2, ahead += 64)
      _mm_prefetch(reinterpret_cast<const char*>(ahead), _MM_HINT_T0);
    Codes::decode(strip, k0 + u * kUnit, panel.codes + 8 * u, kChunk / 4);
  }
}

/// A block of x from some group on.
struct Part {
  const uint8_t* bytes;
  const float *scales, *sums;
};

/// As asm: gcc 12 keeps sums in memory where it may order the additions (figures in the commit).
static inline void add_words(__m256i& sum, __m256i words) {
  asm("vpaddw %1, %0, %0" : "+x"(sum) : "x"(words));
}

/// kDwords times four elements: their sums of code times x fit 16 bits, as Codes says.
template <int kDwords, int kM>
__attribute__((always_inline)) static inline void multiply_dwords(const Panel* panels,
                                                                  int64_t first, const uint8_t* x,
                                                                  __m256i (*sums)[kM]) {
#pragma GCC unroll 8
  for (int j = 0; j < kDwords; ++j) {
    __m256i w[kWide];
#pragma GCC unroll 2
    for (int s = 0; s < kWide; ++s)
      w[s] = _mm256_load_si256(reinterpret_cast<const __m256i*>(panels[s].codes[first + j]));
#pragma GCC unroll 4
    for (int i = 0; i < kM; ++i) {
      const __m256i four =
          _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(x + i * kUnit + 4 * j));
#pragma GCC unroll 2
      for (int s = 0; s < kWide; ++s) {
        const __m256i products = _mm256_maddubs_epi16(w[s], four);
        if (j == 0)
          sums[s][i] = products;
        else
          add_words(sums[s][i], products);
      }
    }
  }
}

/// One group of one half of the codes, `times` its value: added to the sums, which are in memory.
template <class Codes, int kM>
__attribute__((always_inline)) static inline void add_group(const Panel* panels, int64_t first,
                                                            const uint8_t* x, int64_t units,
                                                            short times, __m256i (*whole)[kM]) {
  constexpr int kDwords = Codes::kDwords;
  for (int64_t u = 0; u < units; ++u, x += kM * kUnit)
#pragma GCC unroll 4
    for (int j = 0; j < 8; j += kDwords) {
      __m256i sums[kWide][kM];
      multiply_dwords<kDwords, kM>(panels, first + 8 * u + j, x + 4 * j, sums);
      asm volatile("" ::: "memory");  // what follows waits, or 16 registers are too few
#pragma GCC unroll 2
      for (int s = 0; s < kWide; ++s)
#pragma GCC unroll 4
        for (int i = 0; i < kM; ++i)
          whole[s][i] = _mm256_add_epi32(whole[s][i],
                                         _mm256_madd_epi16(sums[s][i], _mm256_set1_epi16(times)));
    }
}

/// `groups` groups of the panels into the accumulators of kM rows, which stay in memory: registers
/// hold the integers.
template <class Codes, int kM>
static void multiply(const Panel* panels, Part x, int64_t groups, int64_t units, float* to) {
  for (int64_t g = 0; g < groups; ++g) {
    __m256i whole[kWide][kM] = {};
    add_group<Codes, kM>(panels, 8 * units * g, x.bytes, units, 1, whole);
    if constexpr (Codes::kBits == 8)
      add_group<Codes, kM>(panels, kChunk / 4 + 8 * units * g, x.bytes, units, 16, whole);
    x.bytes += units * kM * kUnit;
    asm volatile("" ::: "memory");
#pragma GCC unroll 2
    for (int s = 0; s < kWide; ++s) {
      const __m256 scale = _mm256_load_ps(panels[s].scales[g]),
                   bias = _mm256_load_ps(panels[s].biases[g]);
#pragma GCC unroll 4
      for (int i = 0; i < kM; ++i) {
        float* const at = to + kStrip * (kWide * i + s);
        const __m256 both = _mm256_mul_ps(scale, _mm256_broadcast_ss(x.scales + i));
        const __m256 acc =
            _mm256_fmadd_ps(bias, _mm256_broadcast_ss(x.sums + i), _mm256_load_ps(at));
        _mm256_store_ps(at, _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole[s][i]), both, acc));
      }
    }
    x.scales += kM, x.sums += kM;
  }
}

using Multiply = void (*)(const Panel* panels, Part x, int64_t groups, int64_t units, float* to);
template <class Codes>
static constexpr Multiply kByRows[] = {multiply<Codes, 1>, multiply<Codes, 2>, multiply<Codes, 3>,
                                       multiply<Codes, 4>};

static inline void store_strip(const MatmulArgs& args, int64_t i, int64_t n0, int64_t count,
                               const float* sums) {
  for (int64_t h = 0; h < count; h += 4)
    store_f32(args.y, args.y_type, i * args.y_stride + n0 + h, least(count - h, 4),
              _mm_load_ps(sums + h));
}

/// Outputs n0 .. n0 + count - 1 of the rows of x in blocks [begin, end).
template <class Codes>
static void run_strips(const MatmulArgs& args, int64_t begin, int64_t end, int64_t n0,
                       int64_t count) {
  alignas(32) float sums[kMostBlocks * kTileM * kWide * kStrip];
  Panel panels[kWide];
  const int64_t first = begin * kTileM, rows = least(args.m, end * kTileM) - first;
  memset(sums, 0, static_cast<size_t>(rows * kWide * kStrip) * sizeof(float));
  Strip strips[kWide];
  const uint8_t* ahead[kWide];
  const int64_t bytes = kWide * kStrip * args.w_row_bytes;
  for (int64_t s = 0; s < kWide; ++s) {
    strips[s] = strip_at(args, n0 + s * kStrip);
    ahead[s] = strips[s].codes[0] + (bytes >= 16384 ? 1 : 16383 / bytes + 1) * bytes;
  }
  for (int64_t k0 = 0; k0 < args.k; k0 += kChunk) {
    const int64_t length = least(args.k - k0, kChunk), g = k0 / args.group_size;
    for (int s = 0; s < kWide; ++s) decode<Codes>(args, strips[s], k0, length, ahead[s], panels[s]);
    for (int64_t b = begin; b < end; ++b) {
      const Block block = block_at(args, b);
      const Part x = {bytes_of(args, block) + k0 * block.rows,
                      x_scales_of(args, block) + g * block.rows,
                      x_sums_of(args, block) + g * block.rows};
      kByRows<Codes>[block.rows - 1](panels, x, length / args.group_size, args.group_size / kUnit,
                                     sums + (block.first - first) * kWide * kStrip);
    }
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t s = 0; s * kStrip < count; ++s)
      store_strip(args, first + i, n0 + s * kStrip, least(count - s * kStrip, kStrip),
                  sums + kStrip * (kWide * i + s));
}

template <class Codes>
static void run_panels(const MatmulArgs& args, Slice units) {
  const int64_t blocks = (args.m + kTileM - 1) / kTileM;
  for (int64_t b = 0; b < blocks; b += kMostBlocks)
    for (int64_t n = units.begin; n < units.end; n += kWide * kStrip)
      run_strips<Codes>(args, b, least(b + kMostBlocks, blocks), n,
                        least(units.end - n, kWide * kStrip));
}

}  // namespace stepless::kernels
