// Codes that are numbers, E2M1 and E4M3, as bf16: the same as those of sm80/unit_formats.cuh by
// fewer instructions of the unit for logic, which is the one that 1 to 8 rows keep waiting.
#pragma once
#include "kernels/cuda/sm80/unit_formats.cuh"

namespace stepless::kernels::sm90 {

using namespace sm80;

/// Stays in its register: the compiler would rather find it anew in every turn.
static __device__ __forceinline__ uint32_t kept(uint32_t value) {
  asm("" : "+r"(value));
  return value;
}

/// Bits of a where the mask has ones, else of b.
static __device__ __forceinline__ uint32_t merged(uint32_t a, uint32_t b, uint32_t mask) {
  uint32_t result;
  asm("lop3.b32 %0,%1,%2,%3,0xE4;" : "=r"(result) : "r"(a), "r"(b), "r"(mask));
  return result;
}

/// E4M3, two of them, times the tensor's scale: rounded once.
static __device__ __forceinline__ float2 e4m3_times(uint32_t pair, float times) {
  uint32_t halves;
  asm("cvt.rn.f16x2.e4m3x2 %0,%1;" : "=r"(halves) : "h"(static_cast<uint16_t>(pair)));
  return make_float2(F16::low(halves) * times, F16::high(halves) * times);
}

/// Pairs of codes 16 bits apart, from the lowest on. Signs of every other code of a word go where
/// bf16 has its own and to places that magnitudes take, so what is merged needs no mask of its own.
template <int kBits>
struct CodePairs;

/// E2M1: four pairs. The magnitude's three bits become those from 6 on, 2^126 too low.
template <>
struct CodePairs<4> {
  static __device__ __forceinline__ uint32_t pair(uint32_t word, int i) {
    // kept: one mask and one right shift for two pairs, not for each.
    const uint32_t signs = kept(word & (i % 2 == 0 ? 0x08080808u : 0x80808080u));
    const uint32_t high = kept(word >> 6);
    const uint32_t both = i == 0   ? merged(word << 6, signs << 12, 0x01c001c0u)
                          : i == 1 ? merged(word << 2, signs << 8, 0x01c001c0u)
                          : i == 2 ? merged(high, signs, 0x001c001cu) << 4
                                   : merged(high, signs, 0x01c001c0u);
    return Bf16::fma2(both, 0x7e807e80u, kMinusZeros);
  }
};

/// E4M3: two pairs. The magnitude's seven bits become those from 4 on, 2^120 too low.
template <>
struct CodePairs<8> {
  static __device__ __forceinline__ uint32_t pair(uint32_t word, int i) {
    const uint32_t signs = kept(word & 0x80808080u);
    const uint32_t both =
        i == 0 ? merged(word << 4, signs << 8, 0x07f007f0u) : merged(word >> 4, signs, 0x07f007f0u);
    return Bf16::fma2(both, 0x7b807b80u, kMinusZeros);
  }
};

}  // namespace stepless::kernels::sm90
