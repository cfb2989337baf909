// x as two planes of bytes (order neon_i16). A group of a row becomes 16-bit integers with a power
// of two as its scale, the least with which its largest number fits; an integer is 256 * high +
// low, both signed. bf16 keeps all bits of numbers down to 2^-7 of the group's largest, f16 down to
// 2^-4. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/neon/codes.hpp"

namespace stepless::kernels {

static constexpr int64_t kMostRows = 8;  // rows of x of a tile

/// Rows of x that pass together. Heights differ by one at most: nine rows are five and four.
struct Block {
  int64_t first, rows;
};

static inline int64_t count_blocks(int64_t m) { return (m + kMostRows - 1) / kMostRows; }

static inline Block block_at(int64_t m, int64_t index) {
  const int64_t first = index * m / count_blocks(m);
  return {first, (index + 1) * m / count_blocks(m) - first};
}

static inline Block block_of_row(int64_t m, int64_t i) {
  int64_t index = i * count_blocks(m) / m;
  if (block_at(m, index).first + block_at(m, index).rows <= i) ++index;
  return block_at(m, index);
}

// The workspace: the blocks of x; in each, for every unit of k and each row, both planes as
// T::lay() stores them. Then the scales of the groups, in the same blocks, for each group and row
// one float; then the sums of their integers likewise. padded(k) / 16 numbers a row hold either, or
// with groups of 32 and more half of that.
static inline uint8_t* planes_of(const MatmulArgs& args, Block block) {
  return args.workspace + 2 * block.first * padded(args.k);
}

static inline int64_t most_groups(const MatmulArgs& args) {
  return padded(args.k) / (args.group_size == 16 ? 16 : 32);
}

static inline float* x_scales_of(const MatmulArgs& args, Block block) {
  return reinterpret_cast<float*>(args.workspace + 2 * args.m * padded(args.k)) +
         block.first * most_groups(args);
}

/// Only biases ask for them: affine mode.
static inline int32_t* x_sums_of(const MatmulArgs& args, Block block) {
  return reinterpret_cast<int32_t*>(x_scales_of(args, block) + args.m * most_groups(args));
}

static inline float32x4_t load_x(const MatmulArgs& args, int64_t at) {
  const uint8_t* from = static_cast<const uint8_t*>(args.x) + 2 * at;
  return half_to_f32(load_u16(from), args.x_type);
}

/// The exponent, as float32 stores it, of a group's largest number; one more where that would give
/// an integer above 32639, which has no planes. Below 2^-103 (absolute) precision ends, so that
/// every power of two made of it is a normal number. 255 and more: NaN or infinity.
static inline uint32_t group_exponent(const MatmulArgs& args, int64_t at) {
  uint32x4_t most = vdupq_n_u32(0);
  for (int64_t t = 0; t < args.group_size; t += 4) {
    const uint32x4_t bits = vreinterpretq_u32_f32(load_x(args, at + t));
    most = vmaxq_u32(most, vandq_u32(bits, vdupq_n_u32(INT32_MAX)));
  }
  const uint32_t exponent = (vmaxvq_u32(most) + 0x10000) >> 23;
  return exponent > 24 ? exponent : 24;
}

/// 2^14 divided by the power of two of `exponent`, or for NaN and infinity anything finite.
static inline float to_integers(uint32_t exponent) {
  return __builtin_bit_cast(float, (268 - (exponent < 255 ? exponent : 254)) << 23);
}

/// The other way. A group with NaN or infinity has the scale NaN, whatever its integers are.
static inline float from_integers(uint32_t exponent) {
  return __builtin_bit_cast(float, exponent >= 255 ? 0x7FC00000u : (exponent - 14) << 23);
}

/// Both planes of a unit of at most 32 elements, in their order.
struct Planes {
  alignas(16) uint8_t high[32], low[32];
};

/// Splits `count` elements; returns lanes that add up to the sum of their integers.
static inline int32x4_t split(const MatmulArgs& args, int64_t at, int64_t count, float factor,
                              Planes& to) {
  int32x4_t sum = vdupq_n_s32(0);
  for (int64_t t = 0; t < count; t += 8) {
    const int32x4_t a = vcvtnq_s32_f32(vmulq_n_f32(load_x(args, at + t), factor));
    const int32x4_t b = vcvtnq_s32_f32(vmulq_n_f32(load_x(args, at + t + 4), factor));
    const int16x8_t words = vmovn_high_s32(vmovn_s32(a), b);
    vst1_u8(to.high + t, vreinterpret_u8_s8(vrshrn_n_s16(words, 8)));
    vst1_u8(to.low + t, vreinterpret_u8_s8(vmovn_s16(words)));
    sum = vaddq_s32(sum, vaddq_s32(a, b));
  }
  return sum;
}

/// T: how a format's unit of k lies in registers. kUnit: its elements; kAffine; lay(planes, to):
/// stores 2 * kUnit bytes of x as multiply() reads them.
template <class T>
static void prepare_rows(const MatmulArgs& args, Slice rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const Block block = block_of_row(args.m, i);
    const int64_t place = i - block.first, row = i * args.x_stride;
    uint8_t* to = planes_of(args, block) + place * 2 * T::kUnit;
    float* scale = x_scales_of(args, block) + place;
    int32_t* sum = x_sums_of(args, block) + place;
    for (int64_t k = 0; k < args.k; k += args.group_size) {
      const uint32_t exponent = group_exponent(args, row + k);
      int32x4_t lanes = vdupq_n_s32(0);
      for (int64_t t = 0; t < args.group_size; t += T::kUnit, to += block.rows * 2 * T::kUnit) {
        Planes planes;
        lanes = vaddq_s32(lanes, split(args, row + k + t, T::kUnit, to_integers(exponent), planes));
        T::lay(planes, to);
      }
      *scale = from_integers(exponent);
      scale += block.rows;
      if constexpr (T::kAffine) *sum = vaddvq_s32(lanes), sum += block.rows;
    }
  }
}

}  // namespace stepless::kernels
