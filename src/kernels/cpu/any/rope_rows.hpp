// Rotary embedding. A block of pairs is read whole before it is written, so y may be x. Static
// only: nothing here is exported.
#pragma once
#include "kernels/cpu/any/convert.hpp"

namespace stepless::kernels {

static void rotate(const float* cosines, const float* sines, int64_t n, float* a, float* b) {
  for (int64_t i = 0; i < n; ++i) {
    const float turned = a[i] * cosines[i] - b[i] * sines[i];
    b[i] = a[i] * sines[i] + b[i] * cosines[i];
    a[i] = turned;
  }
}

/// One head of one row; `x` and `y` point to its first element.
static void rope_one(const RopeArgs& args, const float* angles, const uint8_t* x, uint8_t* y) {
  const DType type = args.type;
  const int64_t size = bytes_of(type);
  alignas(64) float first[kBlock];
  alignas(64) float second[kBlock];
  for (int64_t at = 0; at < args.pairs; at += kBlock / 2) {
    const int64_t count = least(kBlock / 2, args.pairs - at);
    const float* cosines = angles + at;
    const float* sines = angles + args.pairs + at;
    if (args.interleaved) {
      float both[kBlock];
      widen(x + 2 * at * size, type, 2 * count, both);
      for (int64_t i = 0; i < count; ++i) {
        first[i] = both[2 * i];
        second[i] = both[2 * i + 1];
      }
      rotate(cosines, sines, count, first, second);
      for (int64_t i = 0; i < count; ++i) {
        both[2 * i] = first[i];
        both[2 * i + 1] = second[i];
      }
      narrow(both, type, 2 * count, y + 2 * at * size);
    } else {
      widen(x + at * size, type, count, first);
      widen(x + (args.pairs + at) * size, type, count, second);
      rotate(cosines, sines, count, first, second);
      narrow(first, type, count, y + at * size);
      narrow(second, type, count, y + (args.pairs + at) * size);
    }
  }
  const int64_t rest = args.head_dim - 2 * args.pairs;
  if (rest > 0 && x != y)
    memcpy(y + 2 * args.pairs * size, x + 2 * args.pairs * size, static_cast<size_t>(rest * size));
}

static void rope_rows(const void* opaque, Slice rows) {
  const RopeArgs& args = *static_cast<const RopeArgs*>(opaque);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t head = 0; head < args.heads; ++head)
      rope_one(args, args.angles + row * 2 * args.pairs,
               element(args.x, args.type, row * args.x_stride + head * args.head_dim),
               element(args.y, args.type, row * args.y_stride + head * args.head_dim));
}

}  // namespace stepless::kernels
