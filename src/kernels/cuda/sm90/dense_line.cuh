// Which tiles of a dense weight a block multiplies, in which order. Tiles stand in one line, unit
// of k after unit, of which each block has an even run; the tiles at a run's ends are two blocks'.
//
// Where there are tiles for all blocks, a unit is a step of 64 k: a block begins with the first
// units of the tile that the next block ends, and leaves what it has summed; what the block before
// has begun it ends last, when that has long been there. Where there are fewer, a unit is a chain:
// a block begins with chains of a tile that others began, and leaves each one's sum; whoever has
// the tile's first chains comes to those last, and gathers the others.
#pragma once
#include <cstdint>

namespace stepless::kernels::sm90 {

using std::int64_t;

struct DenseLine {
  int tiles, units, each, blocks;  // units: of a tile; each: of a block
  int steps, unit_steps;           // of 64 k, of a tile and of a unit
  bool gathers;
};

/// Steps of a tile that one block takes at a stretch.
struct DensePiece {
  int tile, step, end;
  bool goes_on;  // from what block - 1 left, or leaves sums for the block that gathers
  bool leaves;   // what block + 1 goes on from, or what others leave is gathered
};

/// The i-th piece of a block; false behind the last.
static __device__ __forceinline__ bool find_piece(const DenseLine& line, int block, int i,
                                                  DensePiece& piece) {
  const int begin = block * line.each, run_end = min(begin + line.each, line.tiles * line.units);
  const int tile = line.gathers ? begin / line.units + i : (run_end - 1) / line.units - i;
  const int first = tile * line.units;
  if (first + line.units <= begin || first >= run_end) return false;
  const int from = max(begin - first, 0), to = min(run_end - first, line.units);
  piece = {tile, from * line.unit_steps, min(to * line.unit_steps, line.steps), from > 0,
           to < line.units};
  return true;
}

}  // namespace stepless::kernels::sm90
