// Sixteen rows of x by sixteen outputs: strips are split, chunk after chunk, into panels that stay
// in L1 while all rows of x pass. TDPBSUD sums a group's codes times x in a tile for each plane;
// what vectors do is scale them, with the bits of avx512vnni, and split the next chunk meanwhile.
// Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/amx/naturals.hpp"
#include "kernels/cpu/amx/tile_planes.hpp"
#include "kernels/cpu/avx512vnni/panel.hpp"

namespace stepless::kernels {

// Tiles: sums of the high and the low plane of three groups in turn, rows of x, codes.
static constexpr int kTurns = 3, kRowsOfX = 6, kCodes = 7;

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
template <int kSums>
__attribute__((always_inline)) static inline void tile_multiply() {
  asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kRowsOfX), "i"(kCodes));
}

struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

/// Both planes of so few rows of x are rows of one tile: one product, one store.
static inline bool planes_share_tiles(const MatmulArgs& args) { return args.m <= kTileM / 2; }

/// Of this thread, until close_tiles(). A block one row lower than the tallest multiplies what lies
/// behind its rows in the workspace as well; nobody looks at those sums.
template <class F>
static inline void open_tiles(const MatmulArgs& args) {
  TileShapes shapes;
  const int64_t height = (args.m + count_tiles(args) - 1) / count_tiles(args);
  const int64_t rows = planes_share_tiles(args) ? F::kPlanes * height : height;
  const int64_t piece = piece_of(args);
  for (int i = 0; i < 8; ++i) {
    shapes.rows[i] = static_cast<uint8_t>(i == kCodes ? piece / 4 : rows);
    shapes.row_bytes[i] = static_cast<uint16_t>(i == kRowsOfX ? piece : 64);
  }
  asm volatile("ldtilecfg %0" ::"m"(shapes));
}
static inline void close_tiles() { asm volatile("tilerelease"); }

/// The integer sums of a group: rows of the high plane, and of the low one behind them, or, where
/// they share no tile, from row kTileM on.
struct TileSums {
  alignas(64) int32_t rows[2 * kTileM][kStrip];
};

/// What a block meets: a strip's panel, and x from the panel's first group on.
struct TileWork {
  const uint8_t (*codes)[64];
  const uint8_t* x;
  const float (*scales)[kStrip];
  const float (*biases)[kStrip];
  const float *x_scales, *x_sums;
  int64_t groups, pieces, piece;  // pieces of a group, elements of a piece
};

/// What a block does meanwhile: splits units of the next chunk, and asks memory for later ones.
struct Meanwhile {
  const Rows* rows;
  int64_t k0, left;  // elements
  uint8_t (*codes)[64];
  int64_t unit, units;
  Streams ahead;
  int64_t ask, asks;  // byte, lines
  int64_t due = 0, due_asks = 0;
};

/// What a block is: rows of x, and whether planes share tiles.
template <int m, bool shared>
struct Height {
  static constexpr int kM = m;
  static constexpr bool kShared = shared;
};

/// The next group, into the tiles of one turn.
template <class F, class H, int kTurn>
__attribute__((always_inline)) static inline void sum_group(TileWork& work) {
  constexpr bool kTwo = F::kPlanes == 2 && !H::kShared;
  constexpr int kHigh = 2 * kTurn, kLow = kHigh + 1;
  if constexpr (kTwo) tile_zero<kHigh>();
  tile_zero<kLow>();
  for (int64_t p = work.pieces; p > 0; --p) {
    tile_load<kCodes>(work.codes, 64);
    tile_load<kRowsOfX>(work.x, work.piece);
    if constexpr (kTwo) {
      tile_multiply<kHigh>();
      tile_load<kRowsOfX>(work.x + H::kM * work.piece, work.piece);
    }
    tile_multiply<kLow>();
    work.codes += work.piece / 4, work.x += F::kPlanes * H::kM * work.piece;
  }
}

template <class F, class H, int kTurn>
__attribute__((always_inline)) static inline void keep_group(TileSums& to) {
  constexpr bool kTwo = F::kPlanes == 2 && !H::kShared;
  if constexpr (kTwo) tile_store<2 * kTurn>(to.rows);
  tile_store<2 * kTurn + 1>(to.rows + (kTwo ? kTileM : 0));
}

template <class F, class H>
__attribute__((always_inline)) static inline void scale_group(TileWork& work, const TileSums& sums,
                                                              __m512* acc) {
  constexpr int kLowRow = F::kPlanes == 1 ? 0 : H::kShared ? H::kM : kTileM;
  const __m512 scale = _mm512_load_ps(*work.scales++), bias = _mm512_load_ps(*work.biases++);
#pragma GCC unroll 16
  for (int i = 0; i < H::kM; ++i) {
    __m512i whole = _mm512_load_si512(sums.rows[kLowRow + i]);
    if constexpr (F::kPlanes == 2)
      whole = _mm512_add_epi32(_mm512_slli_epi32(_mm512_load_si512(sums.rows[i]), 8), whole);
    const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(work.x_scales[i]));
    if constexpr (F::kAffine)
      acc[i] = _mm512_fmadd_ps(bias, _mm512_set1_ps(work.x_sums[i]), acc[i]);
    else
      whole = _mm512_add_epi32(whole, _mm512_castps_si512(_mm512_set1_ps(work.x_sums[i])));
    acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), both, acc[i]);
  }
  work.x_scales += H::kM, work.x_sums += H::kM;
}

template <class Codes>
__attribute__((always_inline)) static inline void split_unit(const Rows& rows, int64_t k,
                                                             int64_t left, uint8_t (*to)[64]) {
  __m512i v[8];
  Codes::load(rows, k * Codes::kBits / 8, left, v);
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) _mm512_store_si512(to[j], Codes::four(v, j));
}

/// The part of it that falls to one of the groups.
__attribute__((always_inline)) static inline void ask_on(int64_t groups, Meanwhile& other) {
  for (other.due_asks += other.asks; other.due_asks >= groups; other.due_asks -= groups) {
    other.ahead.ask(other.ask);
    other.ask += 64;
  }
}
template <class Codes>
__attribute__((always_inline)) static inline void split_on(int64_t groups, Meanwhile& other) {
  for (other.due += other.units; other.due >= groups; other.due -= groups) {
    split_unit<Codes>(*other.rows, other.k0 + other.unit * kUnit, other.left - other.unit * kUnit,
                      other.codes + 8 * other.unit);
    ++other.unit;
  }
}

/// Group g of a strip. A tile is stored when the products of two more groups are on their way, or
/// the store waits for its own and all for the store.
template <class F, class H, int kTurn>
__attribute__((always_inline)) static inline void run_group(TileWork& work, int64_t g,
                                                            TileSums& to) {
  if (g + 2 < work.groups) sum_group<F, H, (kTurn + 2) % kTurns>(work);
  keep_group<F, H, kTurn>(to);
}

/// The first two groups of a strip.
template <class F, class H>
__attribute__((always_inline)) static inline void start_groups(TileWork& work) {
  sum_group<F, H, 0>(work);
  if (work.groups > 1) sum_group<F, H, 1>(work);
}

/// Member by member: a copy at one go waits for what was stored one by one.
static inline TileWork copy_of(const TileWork& work) {
  return {work.codes,  work.x,      work.scales, work.biases, work.x_scales,
          work.x_sums, work.groups, work.pieces, work.piece};
}
static inline Meanwhile copy_of(const Meanwhile& other) {
  return {other.rows,  other.k0,    other.left, other.codes, other.unit,
          other.units, other.ahead, other.ask,  other.asks};
}

template <class H>
__attribute__((always_inline)) static inline void load_tile(bool first, const float* from,
                                                            __m512* acc) {
#pragma GCC unroll 16
  for (int i = 0; i < H::kM; ++i)
    acc[i] = first ? _mm512_setzero_ps() : _mm512_load_ps(from + kStrip * i);
}
template <class H>
__attribute__((always_inline)) static inline void store_tile(const __m512* acc, float* to) {
#pragma GCC unroll 16
  for (int i = 0; i < H::kM; ++i) _mm512_store_ps(to + kStrip * i, acc[i]);
}

/// A strip of the only block: `to` has kStrip floats of each row of x. A group is scaled, and part
/// of the next chunk is split, while the next ones are summed.
template <class F, class Codes, class H>
static void multiply_alone(const TileWork& given, const Meanwhile& asked, bool first, float* to) {
  TileWork work = copy_of(given);
  Meanwhile other = copy_of(asked);
  TileSums sums[kTurns];
  __m512 acc[H::kM];
  load_tile<H>(first, to, acc);
  const auto step = [&]<int kTurn>(int64_t g) __attribute__((always_inline)) {
    run_group<F, H, kTurn>(work, g, sums[kTurn]);
    ask_on(work.groups, other);
    split_on<Codes>(work.groups, other);
    if (g > 0) scale_group<F, H>(work, sums[(kTurn + 2) % kTurns], acc);
  };
  start_groups<F, H>(work);
  for (int64_t g = 0;;) {
    step.template operator()<0>(g);
    if (++g == work.groups) break;
    step.template operator()<1>(g);
    if (++g == work.groups) break;
    step.template operator()<2>(g);
    if (++g == work.groups) break;
  }
  scale_group<F, H>(work, sums[(work.groups - 1) % kTurns], acc);
  store_tile<H>(acc, to);
}

/// A strip of one of several blocks: all groups are summed, then all are scaled. Float32 fma runs
/// at half its rate beside tile instructions.
template <class F, class H>
static void multiply_among(const TileWork& given, const Meanwhile& asked, bool first, float* to) {
  TileWork work = copy_of(given);
  Meanwhile other = copy_of(asked);
  TileSums sums[kChunk / kUnit];
  start_groups<F, H>(work);
  for (int64_t g = 0;;) {
    run_group<F, H, 0>(work, g, sums[g]), ask_on(work.groups, other);
    if (++g == work.groups) break;
    run_group<F, H, 1>(work, g, sums[g]), ask_on(work.groups, other);
    if (++g == work.groups) break;
    run_group<F, H, 2>(work, g, sums[g]), ask_on(work.groups, other);
    if (++g == work.groups) break;
  }
  __m512 acc[H::kM];
  load_tile<H>(first, to, acc);
  for (int64_t g = 0; g < work.groups; ++g) scale_group<F, H>(work, sums[g], acc);
  store_tile<H>(acc, to);
}

using MultiplyTiles = void (*)(const TileWork& work, const Meanwhile& other, bool first, float* to);

/// Of several blocks none has less than eight rows.
template <class F, class Codes>
static inline MultiplyTiles tiles_of(bool alone, int64_t rows) {
#define STEPLESS_ALONE(m) multiply_alone<F, Codes, Height<m, m <= kTileM / 2>>
#define STEPLESS_AMONG(m) multiply_among<F, Height<m, false>>
  static constexpr MultiplyTiles kAlone[kTileM] = {
      STEPLESS_ALONE(1),  STEPLESS_ALONE(2),  STEPLESS_ALONE(3),  STEPLESS_ALONE(4),
      STEPLESS_ALONE(5),  STEPLESS_ALONE(6),  STEPLESS_ALONE(7),  STEPLESS_ALONE(8),
      STEPLESS_ALONE(9),  STEPLESS_ALONE(10), STEPLESS_ALONE(11), STEPLESS_ALONE(12),
      STEPLESS_ALONE(13), STEPLESS_ALONE(14), STEPLESS_ALONE(15), STEPLESS_ALONE(16)};
  static constexpr MultiplyTiles kAmong[] = {
      STEPLESS_AMONG(8),  STEPLESS_AMONG(9),  STEPLESS_AMONG(10),
      STEPLESS_AMONG(11), STEPLESS_AMONG(12), STEPLESS_AMONG(13),
      STEPLESS_AMONG(14), STEPLESS_AMONG(15), STEPLESS_AMONG(16)};
#undef STEPLESS_ALONE
#undef STEPLESS_AMONG
  return alone ? kAlone[rows - 1] : kAmong[rows - kTileM / 2];
}

static constexpr int64_t kMostTiles = 32;  // blocks whose accumulators wait for the next chunk
static constexpr int64_t kStrips = 2;      // at most, that share what is read of x

/// Strips side by side, and how much of their rows panels hold at a time.
struct Shape {
  int64_t strips, chunk;
};
static inline Shape shape_of(const MatmulArgs& args) {
  return args.m > kTileM ? Shape{kStrips, kChunk / 2} : Shape{1, kChunk};
}

/// The chunks of a slice in the order in which they are multiplied.
struct ChunkWalk {
  int64_t k, end, wide, chunk;  // of a slice; outputs side by side, elements at a time
  int64_t n, k0;

  int64_t length() const { return least(k - k0, chunk); }
  int64_t units() const { return (length() + kUnit - 1) / kUnit; }
  int64_t strips() const { return n < end ? (least(end - n, wide) + kStrip - 1) / kStrip : 0; }
  void advance() {
    k0 += chunk;
    if (k0 < k) return;
    n += wide, k0 = 0;
  }
};

/// One of the strips side by side: what it is split into, its rows and those of the next one.
struct Side {
  Panel panels[2];
  Strip strips[2];
  Ahead ahead;
};

/// A block of rows of x, its accumulators, and what of the next chunk and of later weights falls to
/// it.
struct TileBlock {
  Block of;
  const uint8_t* planes;
  const float *scales, *sums;  // of x
  MultiplyTiles multiply;
};

template <class F, class Codes>
static inline TileBlock block_of_tiles(const MatmulArgs& args, int64_t index) {
  const Block of = tile_block(args, index);
  return {of, planes_of<F>(args, of), x_scales_of<F>(args, of), x_sums_of<F>(args, of),
          tiles_of<F, Codes>(args.m <= kTileM, of.rows)};
}

template <class Codes>
static inline void split_chunk(const MatmulArgs& args, const ChunkWalk& at, const Strip& strip,
                               Panel& panel) {
  for (int64_t u = 0; u < at.units(); ++u)
    split_unit<Codes>(strip.codes, at.k0 + u * kUnit, args.k - at.k0 - u * kUnit,
                      panel.codes + 8 * u);
}

/// The rows of x in blocks [begin, end).
template <class F, class Codes>
static void run_blocks(const MatmulArgs& args, int64_t begin, int64_t end, Slice units) {
  alignas(64) float sums[kMostTiles][kStrips][kTileM][kStrip];
  TileBlock blocks[kMostTiles];
  Side sides[kStrips];
  const Shape shape = shape_of(args);
  const int64_t count = end - begin, piece = piece_of(args), pieces = args.group_size / piece;
  const int64_t bytes = kStrip / 4 * args.bits;  // of a stream for eight elements
  for (int64_t b = 0; b < count; ++b) blocks[b] = block_of_tiles<F, Codes>(args, begin + b);
  ChunkWalk at = {args.k, units.end, shape.strips * kStrip, shape.chunk, units.begin, 0}, next = at;
  const bool alone = args.m <= kTileM;
  for (int64_t s = 0; s < at.strips(); ++s) {
    sides[s].strips[0] = strip_at(args, at.n + s * kStrip);
    if (alone) split_chunk<Codes>(args, at, sides[s].strips[0], sides[s].panels[0]);
  }
  int64_t panel = 0, strip = 0;
  for (next.advance(); at.n < units.end; at = next, next.advance(), panel = alone ? 1 - panel : 0) {
    const bool last = next.k0 == 0;  // chunk of these strips
    const int64_t after = last ? 1 - strip : strip, strips = at.strips();
    for (int64_t s = 0; s < strips; ++s) {
      Side& side = sides[s];
      if (at.k0 == 0) side.ahead = ahead_of<F>(args, at.n + s * kStrip, shape.strips);
      if (last && s < next.strips()) side.strips[after] = strip_at(args, next.n + s * kStrip);
      read_panel_scales<F>(args, side.strips[strip], at.k0, at.length(), side.ahead,
                           side.panels[panel]);
      if (!alone) split_chunk<Codes>(args, at, side.strips[strip], side.panels[panel]);
    }
    const int64_t g0 = at.k0 / args.group_size, groups = at.length() / args.group_size;
    const int64_t asks = (at.length() * bytes / 8 + 63) / 64;
    int64_t unit = 0, ask = 0;
    for (int64_t b = 0; b < count; ++b) {
      const TileBlock& block = blocks[b];
      const int64_t m = block.of.rows, unit_end = (b + 1) * next.units() / count,
                    ask_end = (b + 1) * asks / count;
      for (int64_t s = 0; s < strips; ++s) {
        Side& side = sides[s];
        const Panel& from = side.panels[panel];
        block.multiply(
            {from.codes, block.planes + F::kPlanes * at.k0 * m, from.scales, from.biases,
             block.scales + g0 * m, block.sums + g0 * m, groups, pieces, piece},
            {&side.strips[after].codes, next.k0, args.k - next.k0, side.panels[1 - panel].codes,
             unit, alone && s < next.strips() ? unit_end - unit : 0, side.ahead.codes,
             at.k0 * bytes / 8 + 64 * ask, ask_end - ask},
            at.k0 == 0, sums[b][s][0]);
      }
      unit = unit_end, ask = ask_end;
    }
    for (int64_t b = 0; last && b < count; ++b)
      for (int64_t i = 0; i < blocks[b].of.rows; ++i)
        for (int64_t s = 0; s < strips; ++s)
          store_strip<F>(args, sides[s].strips[strip], blocks[b].of.first + i, at.n + s * kStrip,
                         least(units.end - at.n - s * kStrip, kStrip),
                         _mm512_load_ps(sums[b][s][i]));
    strip = after;
  }
}

/// All rows of x, as many at a time as stay in L2 while the slice of weights passes, 1 MiB.
template <class F, class Codes>
static void run_tiles(const MatmulArgs& args, Slice units) {
  const int64_t fit = (1 << 20) / (F::kPlanes * kTileM * padded(args.k));
  const int64_t step = fit < 1 ? 1 : least(fit, kMostTiles), blocks = count_tiles(args);
  open_tiles<F>(args);
  for (int64_t b = 0; b < blocks; b += step)
    run_blocks<F, Codes>(args, b, least(b + step, blocks), units);
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
