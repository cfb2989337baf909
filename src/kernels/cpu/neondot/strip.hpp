// A strip of four weight rows, of which a lane of a vector holds one, and what is done to it once a
// group: y's lane is sum over groups of bias times the sum of x, then of scale times the group's
// integer, one fma each, group after group (order neon_i16). Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/neondot/planes.hpp"

namespace stepless::kernels {

static constexpr int64_t kStrip = 4;
static constexpr int64_t kScaleRun = 8;  // groups whose scales are read together

/// One array's four rows; where fewer are left, the last one stands for those missing.
struct FourRows {
  const uint8_t* at[kStrip];
};

static inline FourRows rows_at(const uint8_t* base, int64_t stride, int64_t n0, int64_t count) {
  FourRows rows;
  for (int64_t r = 0; r < kStrip; ++r) rows.at[r] = base + (n0 + least(r, count - 1)) * stride;
  return rows;
}

/// Up to eight numbers of one row in 16-bit lanes, of which `count` are read.
template <bool kAffine>
static inline uint16x8_t load_eight(const uint8_t* row, int64_t g, int64_t count) {
  constexpr int64_t kSize = kAffine ? 2 : 1;
  uint8x16_t bytes;
  if (count >= kScaleRun) {
    bytes = load_bytes<8 * kSize>(row + g * kSize);
  } else {
    alignas(16) uint8_t copy[16] = {};
    memcpy(copy, row + g * kSize, static_cast<size_t>(count * kSize));
    bytes = vld1q_u8(copy);
  }
  return kAffine ? vreinterpretq_u16_u8(bytes) : vmovl_u8(vget_low_u8(bytes));
}

template <Mode kMode>
static inline float32x4_t scale_of(const MatmulArgs& args, uint16x4_t four) {
  if constexpr (kMode == Mode::affine) return half_to_f32(four, args.w_type);
  if constexpr (kMode == Mode::mxfp4) return e8m0_to_f32(four);
  return vmulq_n_f32(e4m3_to_f32(four), args.tensor_scale);
}

/// Scales or biases of groups g to g + 7 of every row, of which `count` there are.
template <Mode kMode>
static inline void read_scales(const MatmulArgs& args, const FourRows& rows, int64_t g,
                               int64_t count, float32x4_t* to) {
  uint16x8_t row[kStrip];
#pragma GCC unroll 4
  for (int r = 0; r < kStrip; ++r) row[r] = load_eight<kMode == Mode::affine>(rows.at[r], g, count);
  const uint16x8_t even[2] = {vzip1q_u16(row[0], row[2]), vzip2q_u16(row[0], row[2])};
  const uint16x8_t odd[2] = {vzip1q_u16(row[1], row[3]), vzip2q_u16(row[1], row[3])};
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {  // groups 4 h to 4 h + 3
    const uint16x8_t first = vzip1q_u16(even[h], odd[h]), second = vzip2q_u16(even[h], odd[h]);
    to[4 * h] = scale_of<kMode>(args, vget_low_u16(first));
    to[4 * h + 1] = scale_of<kMode>(args, vget_high_u16(first));
    to[4 * h + 2] = scale_of<kMode>(args, vget_low_u16(second));
    to[4 * h + 3] = scale_of<kMode>(args, vget_high_u16(second));
  }
}

/// Biases times sums of x.
template <int kM>
static inline void add_biases(const MatmulArgs& args, const Block& block, const FourRows& biases,
                              float32x4_t* to) {
  const float* scales = x_scales_of(args, block);
  const int32_t* sums = x_sums_of(args, block);
  const int64_t groups = args.k / args.group_size;
  float32x4_t acc[kM];
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) acc[i] = vdupq_n_f32(0);
  for (int64_t g = 0; g < groups; g += kScaleRun) {
    float32x4_t bias[kScaleRun];
    const int64_t count = least(groups - g, kScaleRun);
    read_scales<Mode::affine>(args, biases, g, count, bias);
    for (int64_t j = 0; j < count; ++j, scales += kM, sums += kM)
#pragma GCC unroll 8
      for (int i = 0; i < kM; ++i)
        acc[i] = vfmaq_n_f32(acc[i], bias[j], static_cast<float>(sums[i]) * scales[i]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) to[i] = acc[i];
}

/// Products of bf16 scales and codes leave a float32 room to spare, those of f16 do not: a weight
/// that is rounded twice may be wrong in its last bit (tests: WeightsAreRoundedOnce).
static inline bool rounds_to_odd(const MatmulArgs& args) {
  return args.mode == Mode::affine && args.w_type == DType::f16 && args.y_type != DType::f32;
}

/// a + b in float64, then in float32 with the last bit set where it was cut off: rounding that to
/// 16 bits rounds once.
static inline float32x4_t add_to_odd(float32x4_t a, float32x4_t b) {
  const float64x2_t low = vaddq_f64(vcvt_f64_f32(vget_low_f32(a)), vcvt_f64_f32(vget_low_f32(b)));
  const float64x2_t high = vaddq_f64(vcvt_high_f64_f32(a), vcvt_high_f64_f32(b));
  return vcvtx_high_f32_f64(vcvtx_f32_f64(low), high);
}

}  // namespace stepless::kernels
