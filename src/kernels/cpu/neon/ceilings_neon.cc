// Ceilings of NEON. The empty asm statements keep what the compiler could compute once or not at
// all; they cost no instruction.
#include <arm_neon.h>

#include "kernels/ceiling_entry.hpp"

namespace stepless::kernels {

static void read(const uint8_t* at, int64_t bytes) {
  uint8x16_t sum = vdupq_n_u8(0);
  for (int64_t i = 0; i + 64 <= bytes; i += 64) {
    const uint8x16_t low = vorrq_u8(vld1q_u8(at + i), vld1q_u8(at + i + 16));
    sum = vorrq_u8(sum, vorrq_u8(low, vorrq_u8(vld1q_u8(at + i + 32), vld1q_u8(at + i + 48))));
  }
  asm volatile("" ::"w"(sum));
}

/// Four pipes of four cycles (Neoverse V1, Apple) need sixteen chains.
static int64_t f32(int64_t steps) {
  const float32x4_t half = vdupq_n_f32(0.5f);
  return 4 * 2 * in_chains<16>(steps, half, [&](float32x4_t& sum) {
           sum = vfmaq_f32(half, sum, half);
           asm volatile("" : "+w"(sum));
         });
}

/// Without a dot instruction: products of bytes, pairs added to 32 bits.
static int64_t int8(int64_t steps) {
  int8x8_t x = vdup_n_s8(3);
  const int8x8_t y = vdup_n_s8(5);
  return 8 * 2 * in_chains<8>(steps, vdupq_n_s32(0), [&](int32x4_t& sum) {
           asm volatile("" : "+w"(x));
           sum = vpadalq_s16(sum, vmull_s8(x, y));
           asm volatile("" : "+w"(sum));
         });
}

STEPLESS_CEILING(ceilings_neon) = {read, f32, nullptr, nullptr, int8};

}  // namespace stepless::kernels
