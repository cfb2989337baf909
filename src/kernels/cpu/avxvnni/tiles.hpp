// More rows of x than a fused tile takes: two strips are split, chunk after
// chunk, into panels that stay in L1 while all rows of x pass, six by sixteen outputs at a time.
// Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avxvnni/fused.hpp"

namespace stepless::kernels {

static constexpr int64_t kMostTiles = 32;  // whose accumulators wait in L1 for the next chunk

/// A chunk of the strips side by side, and what is asked for while it is multiplied.
struct Chunk {
  Panel panels[kWide];
  Streams ahead[kWide];
  int64_t first;  // unit of 32 elements
};

/// Elements k0 to k0 + length - 1 of one strip.
template <class Codes>
static inline void split(const MatmulArgs& args, const Strip& strip, int64_t k0, int64_t length,
                         Panel& panel) {
  const int64_t g = k0 / args.group_size, groups = length / args.group_size;
  read_groups<Codes>(args, strip, g, groups, panel.scales, panel.biases);
  for (int64_t u = 0; u * kUnit < length; ++u) {
    __m256i v[8];
    Codes::load(strip, (k0 + u * kUnit) * Codes::kBits / 8, v);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) store_codes(panel.codes + 8 * u + j, Codes::four(v, j));
  }
}

/// Plane p of one group, `count` units from `unit` on: code times x is added to the sums.
template <int kPlanes, int kM>
__attribute__((always_inline)) static inline void add_plane(const Chunk& chunk, int p, int64_t unit,
                                                            int64_t count, const uint8_t* x,
                                                            __m256i (*sums)[kM]) {
  x += p * kUnit;
#pragma GCC unroll 1
  for (const int64_t end = unit + count; unit < end; ++unit, x += kM * kPlanes * kUnit) {
#pragma GCC unroll 2
    for (int s = p; s < kWide; s += kPlanes) chunk.ahead[s].ask_piece(chunk.first + unit);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      __m256i w[kWide];
#pragma GCC unroll 2
      for (int s = 0; s < kWide; ++s)
        w[s] = _mm256_load_si256(
            reinterpret_cast<const __m256i*>(chunk.panels[s].codes[8 * unit + j]));
#pragma GCC unroll 6
      for (int i = 0; i < kM; ++i) {
        const __m256i four = four_of(x + i * kPlanes * kUnit + 4 * j);
#pragma GCC unroll 2
        for (int s = 0; s < kWide; ++s) add_products(sums[s][i], w[s], four);
      }
    }
  }
}

/// `groups` groups of so many units into the accumulators of kM rows, which stay in memory:
/// registers hold the integers.
template <int kPlanes, int kM, bool kAffine>
static void multiply_planes(const Chunk& chunk, Planes x, int64_t groups, int64_t units,
                            float* to) {
  for (int64_t g = 0; g < groups; ++g) {
    __m256i sums[kWide][kM];
#pragma GCC unroll 2
    for (int s = 0; s < kWide; ++s)
#pragma GCC unroll 6
      for (int i = 0; i < kM; ++i) sums[s][i] = _mm256_setzero_si256();
    add_plane<kPlanes, kM>(chunk, 0, units * g, units, x.bytes, sums);
    if constexpr (kPlanes == 2) {
#pragma GCC unroll 2
      for (int s = 0; s < kWide; ++s)
#pragma GCC unroll 6
        for (int i = 0; i < kM; ++i) sums[s][i] = _mm256_slli_epi32(sums[s][i], 8);
      add_plane<kPlanes, kM>(chunk, 1, units * g, units, x.bytes, sums);
    }
    asm volatile("" ::: "memory");  // as avx512vnni/panel.hpp
#pragma GCC unroll 2
    for (int s = 0; s < kWide; ++s) {
      const __m256 scale = _mm256_load_ps(chunk.panels[s].scales[g]),
                   bias = _mm256_load_ps(chunk.panels[s].biases[g]);
#pragma GCC unroll 6
      for (int i = 0; i < kM; ++i) {
        float* const at = to + kStrip * (kWide * i + s);
        _mm256_store_ps(at, add_group<kAffine>(_mm256_load_ps(at), sums[s][i], scale, bias,
                                               x.scales + i, x.sums + i));
      }
    }
    x.bytes += units * kM * kPlanes * kUnit;
    x.scales += kM, x.sums += kM;
  }
}

template <int kPlanes, bool kAffine>
static constexpr void (*kMultiply[kMostRows])(const Chunk&, Planes, int64_t, int64_t, float*) = {
    multiply_planes<kPlanes, 1, kAffine>, multiply_planes<kPlanes, 2, kAffine>,
    multiply_planes<kPlanes, 3, kAffine>, multiply_planes<kPlanes, 4, kAffine>,
    multiply_planes<kPlanes, 5, kAffine>, multiply_planes<kPlanes, 6, kAffine>};

/// Outputs n0 .. n0 + count - 1 of the rows of x in blocks [begin, end).
template <int kPlanes, class Codes>
static void run_pair(const MatmulArgs& args, int64_t begin, int64_t end, int64_t n0,
                     int64_t count) {
  alignas(32) float sums[kMostTiles * kMostRows * kWide * kStrip];
  Chunk chunk;
  Strip strips[kWide];
  for (int64_t s = 0; s < kWide; ++s) {
    strips[s] = strip_at(args, n0 + s * kStrip);
    chunk.ahead[s] = streams_ahead(args, n0 + s * kStrip, kStrip, kWide, kUnit);
  }
  const Block last = even_block(args, end - 1);
  const int64_t first = even_block(args, begin).first, rows = last.first + last.rows - first;
  memset(sums, 0, static_cast<size_t>(rows * kWide * kStrip) * sizeof(float));
  for (int64_t k0 = 0; k0 < args.k; k0 += kChunk) {
    const int64_t length = least(args.k - k0, kChunk);
    chunk.first = k0 / kUnit;
    for (int s = 0; s < kWide; ++s) split<Codes>(args, strips[s], k0, length, chunk.panels[s]);
    for (int64_t b = begin; b < end; ++b) {
      const Block block = even_block(args, b);
      kMultiply<kPlanes, Codes::kAffine>[block.rows - 1](
          chunk, planes_at<kPlanes>(args, block, k0), length / args.group_size,
          args.group_size / kUnit, sums + (block.first - first) * kWide * kStrip);
    }
  }
  for (int64_t i = 0; !Codes::kAffine && i < rows * kWide; ++i)
    _mm256_store_ps(sums + kStrip * i, in_elements<Codes>(_mm256_load_ps(sums + kStrip * i)));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t s = 0; s * kStrip < count; ++s)
      store_strip(args, first + i, n0 + s * kStrip, least(count - s * kStrip, kStrip),
                  sums + kStrip * (kWide * i + s));
}

/// All rows of x.
template <int kPlanes, class Codes>
static void run_tiles(const MatmulArgs& args, Slice units) {
  const int64_t blocks = count_blocks(args);
  for (int64_t b = 0; b < blocks; b += kMostTiles)
    for (int64_t n = units.begin; n < units.end; n += kWide * kStrip)
      run_pair<kPlanes, Codes>(args, b, least(b + kMostTiles, blocks), n,
                               least(units.end - n, kWide * kStrip));
}

template <int kPlanes, class Codes>
static void run_codes(const MatmulArgs& args, Slice units) {
  static constexpr void (*kFused[kMostFused])(const MatmulArgs&, int64_t, int64_t) = {
      run_fused<kPlanes, Codes, 1>, run_fused<kPlanes, Codes, 2>, run_fused<kPlanes, Codes, 3>,
      run_fused<kPlanes, Codes, 4>};
  if (args.m > kMostFused) return run_tiles<kPlanes, Codes>(args, units);
  for (int64_t n = units.begin; n < units.end; n += kStrip)
    kFused[args.m - 1](args, n, least(units.end - n, kStrip));
}

template <int kPlanes, class Codes>
static void run_width(const void* opaque, Slice units) {
  run_codes<kPlanes, Codes>(*static_cast<const MatmulArgs*>(opaque), units);
}

}  // namespace stepless::kernels
