// Inner products, sums and products in float64 (every product is exact). Lane l of eight takes
// elements l, l + 8, l + 16 … of a block in turn, whatever the strides. Static only: nothing here
// is exported.
#pragma once
#include <arm_neon.h>

#include "kernels/cpu/any/decode.hpp"

namespace stepless::kernels {

static constexpr int64_t kRun = 256;  // elements of a strided vector that are copied together

template <DType kType>
static inline float32x4_t load_four(const uint8_t* at) {
  if constexpr (kType == DType::f32) return vreinterpretq_f32_u8(vld1q_u8(at));
  const uint16x4_t half = vreinterpret_u16_u8(vld1_u8(at));
  if constexpr (kType == DType::f16) return vcvt_f32_f16(vreinterpret_f16_u16(half));
  return vreinterpretq_f32_u32(vshll_n_u16(half, 16));
}

struct DotLanes {
  float64x2_t of[4];
};

/// Eight elements of both.
template <DType kType>
static inline void add_eight(const uint8_t* a, const uint8_t* b, DotLanes& lanes) {
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    constexpr int64_t kFour = kType == DType::f32 ? 16 : 8;
    const float32x4_t x = load_four<kType>(a + h * kFour), y = load_four<kType>(b + h * kFour);
    lanes.of[2 * h] =
        vfmaq_f64(lanes.of[2 * h], vcvt_f64_f32(vget_low_f32(x)), vcvt_f64_f32(vget_low_f32(y)));
    lanes.of[2 * h + 1] =
        vfmaq_f64(lanes.of[2 * h + 1], vcvt_high_f64_f32(x), vcvt_high_f64_f32(y));
  }
}

/// Elements first .. first + count - 1 side by side, then zeros up to a multiple of eight.
template <DType kType>
static void lay_out(const void* base, int64_t stride, int64_t first, int64_t count, uint8_t* to) {
  constexpr int64_t kSize = kType == DType::f32 ? 4 : 2;
  memset(to + count / 8 * 8 * kSize, 0, 8 * kSize);
  const uint8_t* from = static_cast<const uint8_t*>(base) + first * stride * kSize;
  for (int64_t i = 0; i < count; ++i, to += kSize, from += stride * kSize) memcpy(to, from, kSize);
}

template <DType kType>
static double block_sum(const DotArgs& args, int64_t k, int64_t end) {
  constexpr int64_t kSize = kType == DType::f32 ? 4 : 2;
  const float64x2_t zero = vdupq_n_f64(0);
  DotLanes lanes = {{zero, zero, zero, zero}};
  if (args.a_stride == 1 && args.b_stride == 1)
    for (; k + 8 <= end; k += 8)
      add_eight<kType>(static_cast<const uint8_t*>(args.a) + k * kSize,
                       static_cast<const uint8_t*>(args.b) + k * kSize, lanes);
  uint8_t a[kSize * (kRun + 8)], b[kSize * (kRun + 8)];
  for (; k < end; k += kRun) {
    const int64_t count = least(kRun, end - k);
    lay_out<kType>(args.a, args.a_stride, k, count, a);
    lay_out<kType>(args.b, args.b_stride, k, count, b);
    for (int64_t i = 0; i < count; i += 8) add_eight<kType>(a + i * kSize, b + i * kSize, lanes);
  }
  return vaddvq_f64(
      vaddq_f64(vaddq_f64(lanes.of[0], lanes.of[1]), vaddq_f64(lanes.of[2], lanes.of[3])));
}

template <DType kType>
static void run_dot(const void* opaque, Slice blocks) {
  const DotArgs& args = *static_cast<const DotArgs*>(opaque);
  for (int64_t block = blocks.begin; block < blocks.end; ++block) {
    const int64_t begin = block * kDotBlock;
    args.workspace[2 * block] = block_sum<kType>(args, begin, least(args.k, begin + kDotBlock));
    args.workspace[2 * block + 1] = 0;
  }
}

static void finish_dot(const void* opaque) {
  const DotArgs& args = *static_cast<const DotArgs*>(opaque);
  double sum = 0;
  for (int64_t block = 0; block * kDotBlock < args.k; ++block) sum += args.workspace[2 * block];
  const float once = to_float(sum, rounding_for(args.type));
  narrow(&once, args.type, 1, static_cast<uint8_t*>(args.y));
}

}  // namespace stepless::kernels
