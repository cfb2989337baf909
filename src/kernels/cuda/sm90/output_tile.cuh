// A tile of outputs of flat_lone, flat_pair and flat_mid, and how it is stored.
#pragma once
#include "kernels/cuda/sm90/wgmma.cuh"

namespace stepless::kernels::sm90 {

using namespace sm80;

/// Its weight and first row, and the rows that the weight has from there on.
struct OutputTile {
  int weight, row, rows;
};

/// Stores rows g and g + 8 of a tile, or what a gate makes of them, at columns `column` and
/// `column` + 1 of m; one after the other, for the sake of less code: a step's kernels find theirs
/// cold.
static __device__ __forceinline__ void store_tile(const FlatWeights& w, const OutputTile& tile,
                                                  int m, int g, int column, const float (&v)[4]) {
  const int out = tile.row + g, end = min(column + 2, m);
  if (w.gated) {
    const float2 y = gated_two(w, v);
    if (g >= tile.rows) return;
    float one = y.x;
#pragma unroll 1
    for (; column < end; ++column, one = y.y)
      store(w.glu.y, w.y_type, column * w.glu.y_stride + out, one);
    return;
  }
  float low = v[0], high = v[2];
#pragma unroll 1
  for (; column < end; ++column, low = v[1], high = v[3]) {
    void* const y = w.y[tile.weight];
    const int64_t at = column * w.y_stride[tile.weight] + out;
    if (g < tile.rows) store(y, w.y_type, at, low);
    if (g + 8 < tile.rows) store(y, w.y_type, at + 8, high);
  }
}

}  // namespace stepless::kernels::sm90
