// What the gates of flat_mid's rounds give, as the x of the product behind them: a round of a
// block has 64 outputs of the gate, which are a step of that product's k.
#pragma once
#include "kernels/cuda/sm90/mid_operands.cuh"

namespace stepless::kernels::sm90 {

constexpr int kStepOfEight = 8 * kStepK * 2;  // bytes of eight rows of x

/// Stores a value to a chunk of one of eight rows.
template <class Type>
static __device__ __forceinline__ void put_one(uint32_t to, int chunk, int row, float value) {
  const uint16_t bits = Type::bits(value);
  asm volatile("st.shared.u16 [%0],%1;" ::"r"(to + row * 128 + (chunk ^ row) * 16), "h"(bits)
               : "memory");
}
/// Output g of the step's eight outputs `eighth`, of rows 2t and 2t + 1.
template <class Type>
static __device__ __forceinline__ void put_gated(uint32_t to, int eighth, float2 y) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const int chunk = eighth % 2 * 4 + g % 4;
  const uint32_t at = to + eighth / 2 * 4 + g / 4 * 2;
  put_one<Type>(at, chunk, 2 * t, y.x), put_one<Type>(at, chunk, 2 * t + 1, y.y);
}

/// Four chunks of eight rows' step, as four words of operands: lane (g, t) has word t of row g.
static __device__ __forceinline__ void load_chunks(uint32_t operands, int first, uint32_t* b) {
  const int r = threadIdx.x & 7, chunk = first + (threadIdx.x >> 3 & 3);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
               : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
               : "r"(operands + r * 128 + (chunk ^ r) * 16)
               : "memory");
}

/// Stores the sums of eight rows' step, which is one of four in their words.
template <class Type>
static __device__ __forceinline__ void store_step_sums(uint8_t* to, uint32_t operands, int step) {
  const int lane = threadIdx.x & 31, t = lane & 3;
  uint32_t b[8];
  load_chunks(operands, 0, b), load_chunks(operands, 4, b + 4);
  const float sum = step_sum<Type>(b, lane);
  if (t % 2 != step / 2) return;
  const auto sums = UnitSums<64, Type>::template split<kCodeOffset>(sum, sum, t);
  SumBlock<64>::each(sums, [&](int at, uint32_t word) {
    reinterpret_cast<uint16_t*>(to + at + lane * 4)[step % 2] = static_cast<uint16_t>(word);
  });
}

/// Stores half the operands of eight rows' step.
static __device__ __forceinline__ void store_half_step(uint8_t* to, uint32_t operands, int half) {
  const uint32_t at = (half * 32 + (threadIdx.x & 31)) * 16;
  *reinterpret_cast<uint4*>(to + at) = load_shared16(operands + at);
}

}  // namespace stepless::kernels::sm90
