// Sixteen rows of x by sixteen outputs: four strips are split, chunk after chunk, into panels that
// stay in L1 while all rows of x pass. TDPBSUD sums a group's codes times x in a tile for each
// plane; what vectors do is scale them, with the bits of avx512vnni. Static only: nothing here is
// exported.
#pragma once
#include <string.h>

#include "kernels/cpu/amx/tile_planes.hpp"
#include "kernels/cpu/avx512vnni/widths.hpp"

namespace stepless::kernels {

// Tiles: sums of both planes of two groups in turn, rows of x, codes.
static constexpr int kRowsOfX = 4, kCodes = 5;

template <int kTile>
__attribute__((always_inline)) static inline void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kTile>
__attribute__((always_inline)) static inline void tile_load(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
__attribute__((always_inline)) static inline void tile_store(void* to) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(int64_t{64}), "i"(kTile) : "memory");
}
/// Signed rows of x times unsigned codes.
template <int kSums, int kX>
__attribute__((always_inline)) static inline void tile_multiply() {
  asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kX), "i"(kCodes));
}

struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

/// Of this thread, until close_tiles(). A block one row lower than the tallest multiplies what lies
/// behind its rows in the workspace as well; nobody looks at those sums.
static inline void open_tiles(const MatmulArgs& args) {
  TileShapes shapes;
  const auto height = static_cast<uint8_t>((args.m + count_tiles(args) - 1) / count_tiles(args));
  const auto piece = static_cast<uint16_t>(piece_of(args));
  for (int i = 0; i <= kRowsOfX; ++i) shapes.rows[i] = height, shapes.row_bytes[i] = 64;
  shapes.row_bytes[kRowsOfX] = piece;
  shapes.rows[kCodes] = static_cast<uint8_t>(piece / 4), shapes.row_bytes[kCodes] = 64;
  asm volatile("ldtilecfg %0" ::"m"(shapes));
}
static inline void close_tiles() { asm volatile("tilerelease"); }

/// The integer sums of a group, of the high plane and of the low one.
struct TileSums {
  alignas(64) int32_t plane[2][kTileM][kStrip];
};

/// What a block meets: a strip's panel, and x from the panel's first group on.
struct TileWork {
  const Panel& panel;
  const uint8_t* x;
  const float *scales, *sums;
  int64_t groups, pieces, piece;  // pieces of a group, elements of a piece
  const Streams& ahead;           // what is asked for meanwhile, by the blocks in turn
  int64_t first, turn, turns;     // unit of 32 elements
};

/// Group g of a block of kM rows, into the tiles of one turn.
template <class F, int kM, int kTurn>
__attribute__((always_inline)) static inline void sum_group(const TileWork& work, int64_t g) {
  constexpr int kHigh = 2 * kTurn, kLow = kHigh + 1;
  if constexpr (F::kPlanes == 2) tile_zero<kHigh>();
  tile_zero<kLow>();
  for (int64_t p = g * work.pieces; p < (g + 1) * work.pieces; ++p) {
    const uint8_t* const x = work.x + p * F::kPlanes * kM * work.piece;
    tile_load<kCodes>(work.panel.codes[p * work.piece / 4], 64);
    if constexpr (F::kPlanes == 2) {
      tile_load<kRowsOfX>(x, work.piece);
      tile_multiply<kHigh, kRowsOfX>();
    }
    tile_load<kRowsOfX>(x + (F::kPlanes - 1) * kM * work.piece, work.piece);
    tile_multiply<kLow, kRowsOfX>();
  }
}

template <class F, int kTurn>
__attribute__((always_inline)) static inline void keep_group(TileSums& to) {
  if constexpr (F::kPlanes == 2) tile_store<2 * kTurn>(to.plane[0]);
  tile_store<2 * kTurn + 1>(to.plane[1]);
}

template <class F, int kM>
__attribute__((always_inline)) static inline void scale_group(const TileWork& work, int64_t g,
                                                              const TileSums& sums, __m512* acc) {
  const float *x_scales = work.scales + g * kM, *x_sums = work.sums + g * kM;
  const __m512 scale = _mm512_load_ps(work.panel.scales[g]),
               bias = _mm512_load_ps(work.panel.biases[g]);
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
    __m512i whole = _mm512_load_si512(sums.plane[1][i]);
    if constexpr (F::kPlanes == 2)
      whole = _mm512_add_epi32(_mm512_slli_epi32(_mm512_load_si512(sums.plane[0][i]), 8), whole);
    const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x_scales[i]));
    if constexpr (F::kAffine)
      acc[i] = _mm512_fmadd_ps(bias, _mm512_set1_ps(x_sums[i]), acc[i]);
    else
      whole = _mm512_add_epi32(whole, _mm512_castps_si512(_mm512_set1_ps(x_sums[i])));
    acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), both, acc[i]);
  }
}

/// A strip of kM rows: `to` has kStrip floats of each. A tile is stored when the next group's
/// products are on their way, or the store waits for its own and all for the store; it is read one
/// group later.
template <class F, int kM>
static void multiply_tiles(const TileWork& work, float* to) {
  TileSums sums[2];
  __m512 acc[kM];
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) acc[i] = _mm512_load_ps(to + kStrip * i);
  const int64_t units = work.pieces * work.piece / kUnit, groups = work.groups;
  int64_t asked = work.turn;
  const auto ask = [&](int64_t end) __attribute__((always_inline)) {
    for (; asked < end * units; asked += work.turns) work.ahead.ask_piece(work.first + asked);
  };
  sum_group<F, kM, 0>(work, 0);
  for (int64_t g = 0; g < groups; g += 2) {
    ask(g + 1);
    if (g + 1 < groups) sum_group<F, kM, 1>(work, g + 1);
    keep_group<F, 0>(sums[0]);
    if (g > 0) scale_group<F, kM>(work, g - 1, sums[1], acc);
    if (g + 1 == groups) break;
    ask(g + 2);
    if (g + 2 < groups) sum_group<F, kM, 0>(work, g + 2);
    keep_group<F, 1>(sums[1]);
    scale_group<F, kM>(work, g, sums[0], acc);
  }
  scale_group<F, kM>(work, groups - 1, sums[(groups - 1) % 2], acc);
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) _mm512_store_ps(to + kStrip * i, acc[i]);
}

template <class F>
static constexpr void (*kTilesByRows[kTileM])(const TileWork&, float*) = {
    multiply_tiles<F, 1>,  multiply_tiles<F, 2>,  multiply_tiles<F, 3>,  multiply_tiles<F, 4>,
    multiply_tiles<F, 5>,  multiply_tiles<F, 6>,  multiply_tiles<F, 7>,  multiply_tiles<F, 8>,
    multiply_tiles<F, 9>,  multiply_tiles<F, 10>, multiply_tiles<F, 11>, multiply_tiles<F, 12>,
    multiply_tiles<F, 13>, multiply_tiles<F, 14>, multiply_tiles<F, 15>, multiply_tiles<F, 16>};

static constexpr int64_t kMostTiles = 32;  // blocks whose accumulators wait for the next chunk
static constexpr int64_t kStrips = 4;      // at most, that share what is read of x

/// Strips side by side, and how much of their rows panels hold at a time: four strips and half of a
/// panel stay in L1 beside a block of x, where there are several; else there is less to read twice.
struct Shape {
  int64_t strips, chunk;
};
static inline Shape shape_of(const MatmulArgs& args) {
  return args.m > kTileM ? Shape{kStrips, kChunk / 2} : Shape{kStrips / 2, kChunk};
}

/// Outputs n0 .. n0 + count - 1 of the rows of x in blocks [begin, end).
template <class F, class Codes>
static void run_strips_of_tiles(const MatmulArgs& args, int64_t begin, int64_t end, int64_t n0,
                                int64_t count) {
  alignas(64) float sums[kMostTiles][kStrips][kTileM][kStrip];
  Panel panels[kStrips];
  Strip strip[kStrips];
  Ahead ahead[kStrips];
  const int64_t strips = (count + kStrip - 1) / kStrip, piece = piece_of(args);
  const Shape shape = shape_of(args);
  for (int64_t s = 0; s < strips; ++s) {
    strip[s] = strip_at(args, n0 + s * kStrip);
    ahead[s] = ahead_of<F>(args, n0 + s * kStrip, shape.strips);
  }
  memset(sums, 0, static_cast<size_t>(end - begin) * sizeof sums[0]);
  for (int64_t k0 = 0; k0 < args.k; k0 += shape.chunk) {
    const int64_t length = least(args.k - k0, shape.chunk), g0 = k0 / args.group_size;
    for (int64_t s = 0; s < strips; ++s)
      decode<F, Codes>(args, strip[s], k0, length, ahead[s], panels[s]);
    for (int64_t b = begin; b < end; ++b) {
      const Block block = tile_block(args, b);
      for (int64_t s = 0; s < strips; ++s)
        kTilesByRows<F>[block.rows - 1](
            {panels[s], planes_of<F>(args, block) + F::kPlanes * k0 * block.rows,
             x_scales_of<F>(args, block) + g0 * block.rows,
             x_sums_of<F>(args, block) + g0 * block.rows, length / args.group_size,
             args.group_size / piece, piece, ahead[s].codes, k0 / kUnit, b - begin, end - begin},
            sums[b - begin][s][0]);
    }
  }
  for (int64_t b = begin; b < end; ++b)
    for (int64_t i = 0; i < tile_block(args, b).rows; ++i)
      for (int64_t s = 0; s < strips; ++s)
        store_strip<F>(args, strip[s], tile_block(args, b).first + i, n0 + s * kStrip,
                       least(count - s * kStrip, kStrip), _mm512_load_ps(sums[b - begin][s][i]));
}

/// All rows of x, as many at a time as stay in L2 while the slice of weights passes, 1 MiB.
template <class F, class Codes>
static void run_tiles(const MatmulArgs& args, Slice units) {
  const int64_t fit = (1 << 20) / (F::kPlanes * kTileM * padded(args.k));
  const int64_t step = fit < 1 ? 1 : least(fit, kMostTiles), blocks = count_tiles(args);
  const int64_t wide = shape_of(args).strips * kStrip;
  open_tiles(args);
  for (int64_t b = 0; b < blocks; b += step)
    for (int64_t n = units.begin; n < units.end; n += wide)
      run_strips_of_tiles<F, Codes>(args, b, least(b + step, blocks), n,
                                    least(units.end - n, wide));
  close_tiles();
}

/// Any width, in the order of the checkpoint.
template <class F>
static void run_tile_widths(const MatmulArgs& args, Slice units) {
  static constexpr void (*kByBits[])(const MatmulArgs&, Slice) = {nullptr,
                                                                  run_tiles<F, Naturals<1>>,
                                                                  run_tiles<F, Naturals<2>>,
                                                                  run_tiles<F, Naturals<3>>,
                                                                  run_tiles<F, Naturals<4>>,
                                                                  run_tiles<F, Naturals<5>>,
                                                                  run_tiles<F, Naturals<6>>,
                                                                  nullptr,
                                                                  run_tiles<F, Naturals<8>>};
  kByBits[args.bits](args, units);
}

}  // namespace stepless::kernels
