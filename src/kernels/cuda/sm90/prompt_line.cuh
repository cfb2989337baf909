// Which tiles a block computes, in which order. There are rarely as many tiles as a multiple of the
// blocks, and a tile's k must not be summed in parts (its order would show), so the tiles that are
// left over are cut, not split: a block takes the first k of a tile at its very start and leaves
// the sums; another goes on from them as the very last thing it does. Every block gets the same
// amount of k, nobody waits, and each output is still one chain.
#pragma once
#include <cstdint>

namespace stepless::kernels::sm90 {

using std::int64_t;

/// The tiles of a product: `units` of k each, `whole` rounds of one tile for every block, and
/// `shared` tiles, no fewer than blocks and less than twice as many, that are cut evenly.
struct PromptLine {
  int row_tiles, output_tiles, units, blocks, whole, shared;
};

static inline PromptLine prompt_line(int64_t row_tiles, int64_t output_tiles, int64_t units,
                                     int64_t most_blocks) {
  const int64_t tiles = row_tiles * output_tiles;
  const int64_t blocks = tiles < most_blocks ? tiles : most_blocks;
  const int64_t whole = tiles / blocks - 1;
  return {static_cast<int>(row_tiles), static_cast<int>(output_tiles),
          static_cast<int>(units),     static_cast<int>(blocks),
          static_cast<int>(whole),     static_cast<int>(tiles - whole * blocks)};
}

/// A part of a tile's k that one block takes at a stretch.
struct Piece {
  int tile, unit, units;
  bool goes_on;  // from the sums that block - 1 left
  bool leaves;   // the sums, for block + 1
};

/// The i-th piece of a block; false behind the last.
static __device__ __forceinline__ bool find_piece(const PromptLine& line, int block, int i,
                                                  Piece& piece) {
  const int64_t all = static_cast<int64_t>(line.shared) * line.units;
  const int begin = static_cast<int>(all * block / line.blocks);
  const int end = static_cast<int>(all * (block + 1) / line.blocks);
  const int head = end % line.units, tail = begin % line.units;
  if (head > 0 && i-- == 0) {
    piece = {end / line.units, 0, head, false, true};
    return true;
  }
  if (i < line.whole) {
    piece = {line.shared + i * line.blocks + block, 0, line.units, false, false};
    return true;
  }
  i -= line.whole;
  const int first = (begin + line.units - 1) / line.units, last = end / line.units;
  if (i < last - first) {
    piece = {last - 1 - i, 0, line.units, false, false};
    return true;
  }
  i -= last - first;
  piece = {begin / line.units, tail, line.units - tail, true, false};
  return tail > 0 && i == 0;
}

struct PromptPlace {
  int row_tile, output_tile;
};
/// Rows first, so that blocks at work together share weights and x stays in the L2 cache; at most
/// `rows` tiles of rows at a time.
static __device__ __forceinline__ PromptPlace place_of(const PromptLine& line, int tile, int rows) {
  const int band = tile / (rows * line.output_tiles), in = tile % (rows * line.output_tiles);
  const int left = line.row_tiles - band * rows, here = left < rows ? left : rows;
  return {band * rows + in % here, in / here};
}

}  // namespace stepless::kernels::sm90
