// RMS norm over the last axis, also head by head (query and key norms). Squares are summed in
// double, in eight lanes at fixed places, so a row's bits depend on the row alone. Static only:
// nothing here is exported.
#pragma once
#include <math.h>

#include "kernels/cpu/any/convert.hpp"

namespace stepless::kernels {

static constexpr int kDoubles = kNativeLanes / 2;
typedef float HalfFloats __attribute__((vector_size(kDoubles * 4)));
typedef double Doubles __attribute__((vector_size(kDoubles * 8)));

static void add_squares(const float* x, int64_t n, double* lanes) {
  constexpr int kVectors = 8 / kDoubles;
  Doubles sums[kVectors];
  __builtin_memcpy(sums, lanes, sizeof sums);
  for (int64_t i = 0; i < n; i += 8)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      HalfFloats some;
      __builtin_memcpy(&some, x + i + v * kDoubles, sizeof some);
      const Doubles wide = __builtin_convertvector(some, Doubles);
      sums[v] += wide * wide;
    }
  __builtin_memcpy(lanes, sums, sizeof sums);
}

static void norm_one(const NormArgs& args, const uint8_t* x, uint8_t* y) {
  alignas(64) float block[kBlock];
  alignas(64) float weight[kBlock];
  double lanes[8] = {};
  for (int64_t at = 0; at < args.k; at += kBlock) {
    const int64_t count = least(kBlock, args.k - at);
    widen(x + at * bytes_of(args.x_type), args.x_type, count, block);
    for (int64_t i = count; i % 8 != 0; ++i) block[i] = 0.0f;
    add_squares(block, count, lanes);
  }
  const double sum = ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
                     ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
  const double mean = sum / static_cast<double>(args.k);
  const float inverse = static_cast<float>(1.0 / sqrt(mean + static_cast<double>(args.epsilon)));
  for (int64_t at = 0; at < args.k; at += kBlock) {
    const int64_t count = least(kBlock, args.k - at);
    widen(x + at * bytes_of(args.x_type), args.x_type, count, block);
    if (args.weight != nullptr) {
      widen(args.weight + at * bytes_of(args.weight_type), args.weight_type, count, weight);
      for (int64_t i = 0; i < count; ++i)
        block[i] = (block[i] * inverse) * (weight[i] + args.weight_offset);
    } else {
      for (int64_t i = 0; i < count; ++i) block[i] *= inverse;
    }
    narrow(block, args.y_type, count, y + at * bytes_of(args.y_type));
  }
}

static void norm_rows(const void* opaque, Slice rows) {
  const NormArgs& args = *static_cast<const NormArgs*>(opaque);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t group = 0; group < args.groups; ++group)
      norm_one(args, element(args.x, args.x_type, row * args.x_stride + group * args.k),
               element(args.y, args.y_type, row * args.y_stride + group * args.k));
}

}  // namespace stepless::kernels
