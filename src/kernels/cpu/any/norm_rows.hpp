// RMS norm over the last axis, also head by head (query and key norms). Squares are summed in
// double, in eight lanes at fixed places, so a row's bits depend on the row alone. Static only:
// nothing here is exported.
#pragma once
#include <math.h>

#include "kernels/cpu/any/convert.hpp"
#include "kernels/cpu/any/vector_math.hpp"

namespace stepless::kernels {

static constexpr int kDoubles = kNativeLanes / 2;
typedef float HalfFloats __attribute__((vector_size(kDoubles * 4)));
typedef double Doubles __attribute__((vector_size(kDoubles * 8)));

/// Runs that are normed together: a lane waits for its own last sum, and these fill the wait.
static constexpr int kTogether = kDoubles < 4 ? 1 : kDoubles / 2;
/// Floats of a run that are kept from the sum to the product; longer runs are widened twice.
static constexpr int64_t kKept = 1024;

static inline Doubles load_doubles(const float* from) {
#if defined(__AVX512F__)
  return _mm512_cvtps_pd(_mm256_loadu_ps(from));
#elif defined(__AVX2__)
  return _mm256_cvtps_pd(_mm_loadu_ps(from));
#else
  HalfFloats some;
  __builtin_memcpy(&some, from, sizeof some);
  return __builtin_convertvector(some, Doubles);
#endif
}

/// A square of a float32 is exact as a double: fused or not, the bits are the same.
static inline Doubles add_square(Doubles sum, Doubles x) {
#if defined(__AVX512F__)
  return _mm512_fmadd_pd(x, x, sum);
#elif defined(__FMA__)
  return _mm256_fmadd_pd(x, x, sum);
#else
  return sum + x * x;
#endif
}

/// What all runs have in common while a stretch of them is worked on.
template <int kRuns>
struct NormBlocks {
  // Runs a multiple of 4 KiB apart: a load would wait for the store at the same place of another.
  static constexpr int64_t kApart = kKept + kKept / 4;
  int64_t step = kApart;  // floats from run to run
  alignas(64) float x[kRuns * kApart];
  double lanes[kRuns][8] = {};

  float* run(int r) { return x + r * step; }
};

/// Zeros up to whole vectors: they add nothing, and products of what lies on the stack by chance
/// can be subnormal, which takes a hundred times as long.
static inline void pad(int64_t n, float* x) {
  for (int64_t i = n; i % 16 != 0; ++i) x[i] = 0.0f;
}

/// n elements of each run, and zeros up to a multiple of 8.
template <int kRuns>
static inline void add_squares(int64_t n, NormBlocks<kRuns>& blocks) {
  constexpr int kVectors = 8 / kDoubles;
  Doubles sums[kRuns][kVectors];
  __builtin_memcpy(sums, blocks.lanes, sizeof sums);
  const float* x[kRuns];
  for (int r = 0; r < kRuns; ++r) x[r] = blocks.run(r);
  for (int64_t i = 0; i < n; i += 8)
#pragma GCC unroll 4
    for (int r = 0; r < kRuns; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        sums[r][v] = add_square(sums[r][v], load_doubles(x[r] + i + v * kDoubles));
  __builtin_memcpy(blocks.lanes, sums, sizeof sums);
}

/// One over the root of the mean square.
static inline float inverse_of(const NormArgs& args, const double* lanes) {
  const double sum = ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
                     ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
  const double mean = sum / static_cast<double>(args.k);
  return static_cast<float>(1.0 / sqrt(mean + static_cast<double>(args.epsilon)));
}

static inline void widen_weight(const NormArgs& args, int64_t at, int64_t n, float* weight) {
  widen(args.weight + at * bytes_of(args.weight_type), args.weight_type, n, weight);
  pad(n, weight);
  for (int64_t i = 0; i < n; ++i) weight[i] += args.weight_offset;
}

/// Whole vectors.
static inline void scale_block(int64_t n, float inverse, const float* weight, float* x) {
  constexpr int L = kNativeLanes;
  if (weight == nullptr)
    for (int64_t i = 0; i < n; i += L) store<L>(x + i, load<L>(x + i) * inverse);
  else
    for (int64_t i = 0; i < n; i += L)
      store<L>(x + i, (load<L>(x + i) * inverse) * load<L>(weight + i));
}

/// Where a run of k elements lies.
struct NormRun {
  const uint8_t* x;
  uint8_t* y;
};

/// Heads side by side.
template <int kRuns>
static inline bool adjacent(const NormArgs& args, const NormRun* runs) {
  if (kRuns == 1 || args.k > kBlock || args.k % 16 != 0) return false;
  const int64_t last = (kRuns - 1) * args.k;
  return runs[kRuns - 1].x == runs[0].x + last * bytes_of(args.x_type) &&
         runs[kRuns - 1].y == runs[0].y + last * bytes_of(args.y_type);
}

/// These are widened and narrowed as one: a tenth less time for heads of 128.
template <int kRuns>
static void norm_adjacent(const NormArgs& args, const NormRun* runs) {
  NormBlocks<kRuns> blocks;
  blocks.step = args.k;
  alignas(64) float weight[kBlock];
  widen(runs[0].x, args.x_type, kRuns * args.k, blocks.x);
  add_squares(args.k, blocks);
  if (args.weight != nullptr) widen_weight(args, 0, args.k, weight);
  for (int r = 0; r < kRuns; ++r)
    scale_block(args.k, inverse_of(args, blocks.lanes[r]),
                args.weight != nullptr ? weight : nullptr, blocks.run(r));
  narrow(blocks.x, args.y_type, kRuns * args.k, runs[0].y);
}

template <int kRuns>
static void norm_some(const NormArgs& args, const NormRun* runs) {
  if (adjacent<kRuns>(args, runs)) return norm_adjacent<kRuns>(args, runs);
  NormBlocks<kRuns> blocks;
  alignas(64) float weight[kBlock];
  const int64_t size = bytes_of(args.x_type);
  for (int64_t at = 0; at < args.k; at += kKept) {
    const int64_t count = least(kKept, args.k - at);
    for (int r = 0; r < kRuns; ++r) {
      widen(runs[r].x + at * size, args.x_type, count, blocks.run(r));
      pad(count, blocks.run(r));
    }
    add_squares(count, blocks);
  }
  float inverse[kRuns];
  for (int r = 0; r < kRuns; ++r) inverse[r] = inverse_of(args, blocks.lanes[r]);
  for (int64_t at = 0; at < args.k; at += kBlock) {
    const int64_t count = least(kBlock, args.k - at);
    if (args.weight != nullptr) widen_weight(args, at, count, weight);
    for (int r = 0; r < kRuns; ++r) {
      float* x = blocks.run(r) + at % kKept;
      if (args.k > kKept) widen(runs[r].x + at * size, args.x_type, count, x);
      scale_block(count, inverse[r], args.weight != nullptr ? weight : nullptr, x);
      narrow(x, args.y_type, count, runs[r].y + at * bytes_of(args.y_type));
    }
  }
}

static void norm_rows(const void* opaque, Slice rows) {
  const NormArgs& args = *static_cast<const NormArgs*>(opaque);
  NormRun runs[kTogether];
  int some = 0;
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t group = 0; group < args.groups; ++group) {
      runs[some++] = {element(args.x, args.x_type, row * args.x_stride + group * args.k),
                      element(args.y, args.y_type, row * args.y_stride + group * args.k)};
      if (some < kTogether) continue;
      norm_some<kTogether>(args, runs);
      some = 0;
    }
  for (int r = 0; r < some; ++r) norm_some<1>(args, runs + r);
}

}  // namespace stepless::kernels
