// The number types that tensor cores multiply, each with its products.
#pragma once
#include "kernels/cuda/sm80/mma.cuh"

namespace stepless::kernels::sm80 {

struct Bf16 {
  static constexpr bool kHalf = false;
  static constexpr uint32_t kOnes = 0x3f803f80u;
  static __device__ __forceinline__ float low(uint32_t pair) { return low_bf16(pair); }
  static __device__ __forceinline__ float high(uint32_t pair) { return high_bf16(pair); }
  static __device__ __forceinline__ void multiply_add(float (&d)[4], const float (&c)[4],
                                                      const uint32_t (&a)[4], uint32_t b0,
                                                      uint32_t b1) {
    mma(d, c, a, b0, b1);
  }
  /// a * b + c of pairs; sm_80 has no other arithmetic of them.
  static __device__ __forceinline__ uint32_t fma2(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t result;
    asm("fma.rn.bf16x2 %0,%1,%2,%3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
    return result;
  }
};

struct F16 {
  static constexpr bool kHalf = true;
  static constexpr uint32_t kOnes = 0x3c003c00u;
  static __device__ __forceinline__ float low(uint32_t pair) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(pair)));
  }
  static __device__ __forceinline__ float high(uint32_t pair) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(pair >> 16)));
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
};

}  // namespace stepless::kernels::sm80
