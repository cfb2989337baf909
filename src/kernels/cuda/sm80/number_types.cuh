// The number types that tensor cores multiply, each with its products.
#pragma once
#include "kernels/cuda/sm80/mma.cuh"

namespace stepless::kernels::sm80 {

struct Bf16 {
  static constexpr bool kHalf = false;
  static constexpr DType kType = DType::bf16;
  static constexpr uint32_t kOnes = 0x3f803f80u;
  /// 16, twice, and where its ones are in the mantissa; the number whose ones are the last bits.
  static constexpr uint32_t k16Twice = 0x41804180u, kLastBitsTwice = 0x43004300u;
  static constexpr int kPlaceOf16 = 3, kLastBits = 128;
  static __device__ __forceinline__ float low(uint32_t pair) { return low_bf16(pair); }
  static __device__ __forceinline__ float high(uint32_t pair) { return high_bf16(pair); }
  static __device__ __forceinline__ uint16_t bits(float v) {
    return __bfloat16_as_ushort(__float2bfloat16_rn(v));
  }
  static __device__ __forceinline__ uint32_t pair(float low, float high) {
    uint32_t v;
    asm("cvt.rn.bf16x2.f32 %0,%1,%2;" : "=r"(v) : "f"(high), "f"(low));
    return v;
  }
  static __device__ __forceinline__ void multiply_add(float (&d)[4], const float (&c)[4],
                                                      const uint32_t (&a)[4], uint32_t b0,
                                                      uint32_t b1) {
    mma(d, c, a, b0, b1);
  }
  /// a * b + c of pairs; of bf16 sm_80 has no other arithmetic.
  static __device__ __forceinline__ uint32_t fma2(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t result;
    asm("fma.rn.bf16x2 %0,%1,%2,%3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
    return result;
  }
  /// From sm_90 on.
  static __device__ __forceinline__ uint32_t add2(uint32_t a, uint32_t b) {
    uint32_t result;
    asm("add.rn.bf16x2 %0,%1,%2;" : "=r"(result) : "r"(a), "r"(b));
    return result;
  }
};

struct F16 {
  static constexpr bool kHalf = true;
  static constexpr DType kType = DType::f16;
  static constexpr uint32_t kOnes = 0x3c003c00u;
  static constexpr uint32_t k16Twice = 0x4c004c00u, kLastBitsTwice = 0x64006400u;
  static constexpr int kPlaceOf16 = 6, kLastBits = 1024;
  static __device__ __forceinline__ float low(uint32_t pair) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(pair)));
  }
  static __device__ __forceinline__ float high(uint32_t pair) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(pair >> 16)));
  }
  static __device__ __forceinline__ uint16_t bits(float v) {
    return __half_as_ushort(__float2half_rn(v));
  }
  static __device__ __forceinline__ uint32_t pair(float low, float high) {
    uint32_t v;
    asm("cvt.rn.f16x2.f32 %0,%1,%2;" : "=r"(v) : "f"(high), "f"(low));
    return v;
  }
  static __device__ __forceinline__ void multiply_add(float (&d)[4], const float (&c)[4],
                                                      const uint32_t (&a)[4], uint32_t b0,
                                                      uint32_t b1) {
    mma_f16(d, c, a, b0, b1);
  }
  static __device__ __forceinline__ uint32_t fma2(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t result;
    asm("fma.rn.f16x2 %0,%1,%2,%3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
    return result;
  }
  static __device__ __forceinline__ uint32_t add2(uint32_t a, uint32_t b) {
    uint32_t result;
    asm("add.rn.f16x2 %0,%1,%2;" : "=r"(result) : "r"(a), "r"(b));
    return result;
  }
};

}  // namespace stepless::kernels::sm80
