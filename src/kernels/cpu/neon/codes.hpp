// Packed codes of any width as bytes, in the order of the checkpoint. Static only: nothing here is
// exported.
#pragma once
#include "kernels/cpu/neon/numbers.hpp"

namespace stepless::kernels {

/// How to give each of eight 16-bit lanes two codes of a stream that begins at byte kFirst: the two
/// bytes that hold them, and how far they lie above bit 0.
template <int kBits, int kFirst>
struct LanePairs {
  alignas(16) uint8_t pick[16] = {};
  alignas(16) int16_t lower[8] = {};
  constexpr LanePairs() {
    for (int lane = 0; lane < 8; ++lane) {
      const int bit = 2 * kBits * lane;
      pick[2 * lane] = static_cast<uint8_t>(kFirst + bit / 8);
      pick[2 * lane + 1] = static_cast<uint8_t>(kFirst + bit / 8 + 1);
      lower[lane] = static_cast<int16_t>(-(bit % 8));
    }
  }
};

/// 16 codes from 2 * kBits bytes, of which the first is byte kFirst.
template <int kBits, int kFirst = 0>
static inline uint8x16_t unpack(uint8x16_t bytes) {
  static_assert(kFirst == 0 || (kBits != 4 && kBits != 8));
  if constexpr (kBits == 8) {
    return bytes;
  } else if constexpr (kBits == 4) {
    const uint8x16_t low = vandq_u8(bytes, vdupq_n_u8(15));
    return vzip1q_u8(low, vshrq_n_u8(bytes, 4));
  } else {
    static constexpr LanePairs<kBits, kFirst> kLanes;
    const uint16x8_t picked = vreinterpretq_u16_u8(vqtbl1q_u8(bytes, vld1q_u8(kLanes.pick)));
    const uint16x8_t pairs = vshlq_u16(picked, vld1q_s16(kLanes.lower));
    const uint8x16_t codes =
        vreinterpretq_u8_u16(vbslq_u16(vdupq_n_u16(255), pairs, vshlq_n_u16(pairs, 8 - kBits)));
    return vandq_u8(codes, vdupq_n_u8((1 << kBits) - 1));
  }
}

/// Sixteen bytes as four vectors of numbers.
static inline void widen_codes(uint8x16_t codes, float32x4_t* to) {
  const uint16x8_t low = vmovl_u8(vget_low_u8(codes)), high = vmovl_high_u8(codes);
  to[0] = vcvtq_f32_u32(vmovl_u16(vget_low_u16(low)));
  to[1] = vcvtq_f32_u32(vmovl_high_u16(low));
  to[2] = vcvtq_f32_u32(vmovl_u16(vget_low_u16(high)));
  to[3] = vcvtq_f32_u32(vmovl_high_u16(high));
}

/// Sixteen E2M1 codes as numbers: bfloat16 by two tables, one for each of its bytes.
static inline void widen_e2m1(uint8x16_t codes, float32x4_t* to) {
  static constexpr uint8_t kUpper[16] = {0,    0x3F, 0x3F, 0x3F, 0x40, 0x40, 0x40, 0x40,
                                         0x80, 0xBF, 0xBF, 0xBF, 0xC0, 0xC0, 0xC0, 0xC0};
  static constexpr uint8_t kLower[16] = {0, 0, 0x80, 0xC0, 0, 0x40, 0x80, 0xC0,
                                         0, 0, 0x80, 0xC0, 0, 0x40, 0x80, 0xC0};
  const uint8x16_t upper = vqtbl1q_u8(vld1q_u8(kUpper), codes);
  const uint8x16_t lower = vqtbl1q_u8(vld1q_u8(kLower), codes);
  const uint16x8_t first = vreinterpretq_u16_u8(vzip1q_u8(lower, upper));
  const uint16x8_t second = vreinterpretq_u16_u8(vzip2q_u8(lower, upper));
  to[0] = half_to_f32(vget_low_u16(first), DType::bf16);
  to[1] = half_to_f32(vget_high_u16(first), DType::bf16);
  to[2] = half_to_f32(vget_low_u16(second), DType::bf16);
  to[3] = half_to_f32(vget_high_u16(second), DType::bf16);
}

static inline void widen_e4m3(uint8x16_t codes, float32x4_t* to) {
  const uint16x8_t low = vmovl_u8(vget_low_u8(codes)), high = vmovl_high_u8(codes);
  to[0] = e4m3_to_f32(vget_low_u16(low));
  to[1] = e4m3_to_f32(vget_high_u16(low));
  to[2] = e4m3_to_f32(vget_low_u16(high));
  to[3] = e4m3_to_f32(vget_high_u16(high));
}

}  // namespace stepless::kernels
