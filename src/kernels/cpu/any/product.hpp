// Rows of x times rows of weights, for the portable kernels (order lanes_f32): element k adds to
// float32 lane k % 16, in order; at the end the lanes are summed as a tree of pairs. Baseline
// x86-64 has 16 registers of four lanes.
#pragma once
#include "kernels/cpu/any/decode.hpp"

namespace stepless::kernels {

static constexpr int64_t kLanes = 16;
static constexpr int64_t kRowBlock = 32;  // rows of x that share one decoding of a weight row

typedef float Four __attribute__((vector_size(16)));
typedef float LooseFour __attribute__((vector_size(16), aligned(4), may_alias));

/// Rows of the workspace are this many floats apart: k up to a multiple of 128.
static inline int64_t padded(int64_t k) { return (k + 127) / 128 * 128; }

/// prepare(): x as float32, zeros behind k, so that no later loop has a tail.
static inline void widen_rows(const void* opaque, Slice rows) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  const int64_t width = padded(args.k);
  float* const to = reinterpret_cast<float*>(args.workspace);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    widen(element(args.x, args.x_type, i * args.x_stride), args.x_type, args.k, to + i * width);
    memset(to + i * width + args.k, 0, static_cast<size_t>(width - args.k) * sizeof(float));
  }
}

/// sums[r][l] += x[r * stride + k] * w[k] over k = l, l + 16, ... < count (a multiple of 16). Two
/// rows at a time reuse each load of w; three would spill.
template <int Rows>
static inline void add_products(const float* x, int64_t stride, const float* w, int64_t count,
                                float (*sums)[kLanes]) {
  Four sum[Rows][4];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int l = 0; l < 4; ++l) sum[r][l] = *reinterpret_cast<const LooseFour*>(sums[r] + 4 * l);
  for (int64_t k = 0; k < count; k += kLanes) {
#pragma GCC unroll 4
    for (int l = 0; l < 4; ++l) {
      const Four weight = *reinterpret_cast<const LooseFour*>(w + k + 4 * l);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
        sum[r][l] += *reinterpret_cast<const LooseFour*>(x + r * stride + k + 4 * l) * weight;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int l = 0; l < 4; ++l) *reinterpret_cast<LooseFour*>(sums[r] + 4 * l) = sum[r][l];
}

static inline float sum_lanes(const float* lanes) {
  float sums[kLanes];
  memcpy(sums, lanes, sizeof sums);
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  return sums[0];
}

static inline void store_element(void* y, int64_t at, DType type, float value) {
  narrow(&value, type, 1, element(y, type, at));
}

/// run() over outputs: `decode(row, first, count, to)` makes float32 weights, at most kDecodeChunk
/// at a time.
template <class Decode>
static inline void multiply(const MatmulArgs& args, Slice outputs, Decode decode) {
  const float* const x = reinterpret_cast<const float*>(args.workspace);
  const int64_t width = padded(args.k);
  for (int64_t first_row = 0; first_row < args.m; first_row += kRowBlock) {
    const int64_t rows = least(kRowBlock, args.m - first_row);
    for (int64_t n = outputs.begin; n < outputs.end; ++n) {
      alignas(64) float weights[kDecodeChunk];
      alignas(64) float sums[kRowBlock][kLanes];
      memset(sums, 0, static_cast<size_t>(rows) * sizeof sums[0]);
      for (int64_t k = 0; k < args.k; k += kDecodeChunk) {
        int64_t count = least(kDecodeChunk, args.k - k);
        decode(n, k, count, weights);
        for (; count % kLanes != 0; ++count) weights[count] = 0;
        const float* const from = x + first_row * width + k;
        int64_t i = 0;
        for (; i + 2 <= rows; i += 2)
          add_products<2>(from + i * width, width, weights, count, sums + i);
        if (i < rows) add_products<1>(from + i * width, width, weights, count, sums + i);
      }
      for (int64_t i = 0; i < rows; ++i)
        store_element(args.y, (first_row + i) * args.y_stride + n, args.y_type, sum_lanes(sums[i]));
    }
  }
}

}  // namespace stepless::kernels
