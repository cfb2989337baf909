// Numbers between memory of any float type and vectors of four float32. Static only: nothing here
// is exported.
#pragma once
#include <arm_neon.h>
#include <string.h>

#include "kernels/args.hpp"

namespace stepless::kernels {

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t padded(int64_t k) { return (k + 127) / 128 * 128; }

static inline float32x4_t half_to_f32(uint16x4_t half, DType type) {
  if (type == DType::f16) return vcvt_f32_f16(vreinterpret_f16_u16(half));
  return vreinterpretq_f32_u32(vshll_n_u16(half, 16));
}

static inline uint16x4_t load_u16(const uint8_t* at) { return vreinterpret_u16_u8(vld1_u8(at)); }

static inline float32x4_t load_whole(const uint8_t* at, DType type) {
  if (type == DType::f32) return vreinterpretq_f32_u8(vld1q_u8(at));
  return half_to_f32(load_u16(at), type);
}

/// Elements at .. at + 3 of an array of any alignment; from the count-th on they are zero and not
/// read.
static inline float32x4_t load_f32(const void* base, DType type, int64_t at, int64_t count) {
  const int64_t size = type == DType::f32 ? 4 : 2;
  const uint8_t* from = static_cast<const uint8_t*>(base) + at * size;
  if (count >= 4) return load_whole(from, type);
  alignas(16) uint8_t copy[16] = {};
  if (count > 0) memcpy(copy, from, static_cast<size_t>(count * size));
  return load_whole(copy, type);
}

/// Exactly kBytes of at most 16; the rest is zero.
template <int kBytes>
static inline uint8x16_t load_bytes(const uint8_t* at) {
  if constexpr (kBytes == 16) return vld1q_u8(at);
  uint64_t low = 0, high = 0;
  memcpy(&low, at, kBytes < 8 ? kBytes : 8);
  if constexpr (kBytes > 8) memcpy(&high, at + 8, kBytes - 8);
  return vcombine_u8(vcreate_u8(low), vcreate_u8(high));
}

/// Rounds to nearest even; a NaN keeps its sign and becomes quiet.
static inline uint16x4_t f32_to_bf16(float32x4_t value) {
  const uint32x4_t bits = vreinterpretq_u32_f32(value);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
  const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
  return vshrn_n_u32(vbslq_u32(vceqq_f32(value, value), rounded, quiet), 16);
}

/// The first `count` (at most 4) of four neighbouring results.
static inline void store_f32(void* base, DType type, int64_t at, int64_t count, float32x4_t value) {
  const int64_t size = type == DType::f32 ? 4 : 2;
  uint8_t* to = static_cast<uint8_t*>(base) + at * size;
  uint8x16_t bytes;
  if (type == DType::f32) {
    bytes = vreinterpretq_u8_f32(value);
    if (count == 4) return vst1q_u8(to, bytes);
  } else {
    const uint16x4_t half =
        type == DType::f16 ? vreinterpret_u16_f16(vcvt_f16_f32(value)) : f32_to_bf16(value);
    if (count == 4) return vst1_u8(to, vreinterpret_u8_u16(half));
    bytes = vcombine_u8(vreinterpret_u8_u16(half), vdup_n_u8(0));
  }
  memcpy(to, &bytes, static_cast<size_t>(count * size));
}

/// Four bytes in 16-bit lanes as E4M3: as float16 the exponent is 8 too small, else exact,
/// subnormals included.
static inline float32x4_t e4m3_to_f32(uint16x4_t b) {
  const uint16x4_t sign = vshl_n_u16(vand_u16(b, vdup_n_u16(0x80)), 8);
  const uint16x4_t rest = vshl_n_u16(vand_u16(b, vdup_n_u16(0x7F)), 7);
  return vmulq_n_f32(vcvt_f32_f16(vreinterpret_f16_u16(vorr_u16(sign, rest))), 256);
}

/// Four bytes in 16-bit lanes as E8M0: byte 0 is the subnormal 2^-127.
static inline float32x4_t e8m0_to_f32(uint16x4_t bytes) {
  const uint32x4_t b = vmovl_u16(bytes);
  const uint32x4_t least_scale = vandq_u32(vceqzq_u32(b), vdupq_n_u32(0x400000));
  return vreinterpretq_f32_u32(vorrq_u32(vshlq_n_u32(b, 23), least_scale));
}

}  // namespace stepless::kernels
