// Eight neighbours of 16 bits at a time, where rows lie so that 16 bytes can be read.
#pragma once
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

/// Whether rows of 16-bit elements, each `stride` of them behind the one before, begin at multiples
/// of 16 bytes.
inline bool in_sixteens(const void* p, int64_t stride) {
  return reinterpret_cast<uint64_t>(p) % 16 == 0 && stride % 8 == 0;
}
inline bool lies_in_eights(const void* p, int64_t stride, DType type) {
  return type != DType::f32 && in_sixteens(p, stride);
}

template <DType type>
inline __device__ void load_eight(const void* p, int64_t at, float (&v)[8]) {
  const uint4 raw = *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(p) + at);
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (type == DType::bf16) {
      v[2 * i] = __uint_as_float(words[i] << 16);
      v[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    } else {
      const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&words[i]));
      v[2 * i] = pair.x, v[2 * i + 1] = pair.y;
    }
  }
}

/// Each rounded once to a type of 16 bits.
template <class T>
inline __device__ uint4 packed_eight(DType type, const T (&v)[8]) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    uint16_t low, high;
    store(&low, type, 0, v[2 * i]), store(&high, type, 0, v[2 * i + 1]);
    words[i] = low | static_cast<uint32_t>(high) << 16;
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}
/// The same two at a time; one by one the compiler's conversions take four times as long.
inline __device__ uint4 packed_eight(DType type, const float (&v)[8]) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (type == DType::bf16)
      asm("cvt.rn.bf16x2.f32 %0,%1,%2;" : "=r"(words[i]) : "f"(v[2 * i + 1]), "f"(v[2 * i]));
    else
      asm("cvt.rn.f16x2.f32 %0,%1,%2;" : "=r"(words[i]) : "f"(v[2 * i + 1]), "f"(v[2 * i]));
  return make_uint4(words[0], words[1], words[2], words[3]);
}
template <class T>
inline __device__ void store_eight(void* p, DType type, int64_t at, const T (&v)[8]) {
  *reinterpret_cast<uint4*>(static_cast<uint16_t*>(p) + at) = packed_eight(type, v);
}

}  // namespace
}  // namespace stepless::kernels
