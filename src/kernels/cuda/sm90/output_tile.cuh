// A tile of outputs of flat_lone, flat_pair and flat_mid, and how it is stored.
#pragma once
#include "kernels/cuda/sm90/wgmma.cuh"

namespace stepless::kernels::sm90 {

using namespace sm80;

/// Its weight and first row, and the rows that the weight has from there on.
struct OutputTile {
  int weight, row, rows;
};

/// Stores a gate's output g of a tile at columns `column` and `column` + 1 of m; one after the
/// other, for the sake of less code: a step's kernels find theirs cold.
static __device__ __forceinline__ void store_gates(const FlatWeights& w, const OutputTile& tile,
                                                   int m, int g, int column, float2 y) {
  const int end = min(column + 2, m);
  if (g >= tile.rows) return;
  float one = y.x;
#pragma unroll 1
  for (; column < end; ++column, one = y.y)
    store(w.glu.y, w.y_type, column * w.glu.y_stride + tile.row + g, one);
}

/// Stores rows g and g + 8 of a tile in the same way.
static __device__ __forceinline__ void store_rows(const FlatWeights& w, const OutputTile& tile,
                                                  int m, int g, int column, const float (&v)[4]) {
  const int out = tile.row + g, end = min(column + 2, m);
  float low = v[0], high = v[2];
#pragma unroll 1
  for (; column < end; ++column, low = v[1], high = v[3]) {
    void* const y = w.y[tile.weight];
    const int64_t at = column * w.y_stride[tile.weight] + out;
    if (g < tile.rows) store(y, w.y_type, at, low);
    if (g + 8 < tile.rows) store(y, w.y_type, at + 8, high);
  }
}

/// Either, by what the weights are.
static __device__ __forceinline__ void store_tile(const FlatWeights& w, const OutputTile& tile,
                                                  int m, int g, int column, const float (&v)[4]) {
  if (w.gated)
    store_gates(w, tile, m, g, column, gated_two(w, v));
  else
    store_rows(w, tile, m, g, column, v);
}

}  // namespace stepless::kernels::sm90
