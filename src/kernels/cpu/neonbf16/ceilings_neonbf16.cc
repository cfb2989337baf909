// The ceilings of BFMMLA and SMMLA, tiles of two by two. The empty asm statements keep what the
// compiler could compute once.
#include <arm_neon.h>

#include "kernels/ceiling_entry.hpp"

namespace stepless::kernels {

static int64_t bf16(int64_t steps) {
  // Not 0.5, which gcc 12 would load by an instruction of half-precision arithmetic.
  const bfloat16x8_t half = vreinterpretq_bf16_u16(vdupq_n_u16(0x3F01));
  return 16 * 2 * in_chains<16>(steps, vdupq_n_f32(0), [&](float32x4_t& sum) {
           sum = vbfmmlaq_f32(sum, half, half);
           asm volatile("" : "+w"(sum));
         });
}

static int64_t int8(int64_t steps) {
  const int8x16_t x = vdupq_n_s8(3), y = vdupq_n_s8(5);
  return 32 * 2 * in_chains<16>(steps, vdupq_n_s32(0), [&](int32x4_t& sum) {
           sum = vmmlaq_s32(sum, x, y);
           asm volatile("" : "+w"(sum));
         });
}

STEPLESS_CEILING(ceilings_neonbf16) = {nullptr, nullptr, bf16, nullptr, int8};

}  // namespace stepless::kernels
