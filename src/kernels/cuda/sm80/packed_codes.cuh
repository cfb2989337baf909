// Codes of packed pages as operands of tensor cores, exact as numbers of 16 bits: 16 + code of 4
// bits, code - 128 of 8. Keys and values are an mma's rows and query rows its columns, of which 8
// go with 16 positions: a lane's words of codes hold what the lane gives to a product.
#pragma once
#include "kernels/cuda/sm80/attention_parts.cuh"

namespace stepless::kernels::sm80 {

/// Operands are codes and this.
template <int bits>
constexpr float kCodeOffset = bits == 4 ? 16.0f : -128.0f;

constexpr int kRun = 32;  // elements of a head that are read together; groups are whole runs

/// ldmatrix of two matrices; lanes 0..15 give the addresses of rows.
static __device__ __forceinline__ void load_two(uint32_t (&m)[2], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1},[%2];"
               : "=r"(m[0]), "=r"(m[1])
               : "r"(row)
               : "memory");
}
static __device__ __forceinline__ void load_two_transposed(uint32_t (&m)[2], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1},[%2];"
               : "=r"(m[0]), "=r"(m[1])
               : "r"(row)
               : "memory");
}
/// An 8 x 8 matrix of 16 bits that lies over the lanes as a result of mma, transposed: an operand.
static __device__ __forceinline__ uint32_t transposed(uint32_t m) {
  uint32_t to;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0,%1;" : "=r"(to) : "r"(m));
  return to;
}

/// Nibbles i of both halves of a word.
template <DType type, int i>
static __device__ __forceinline__ uint32_t nibbles(uint32_t word) {
  if constexpr (type == DType::bf16) {
    constexpr int kShift = 4 * i - 3;
    return and_or(kShift < 0 ? word << -kShift : word >> (kShift < 0 ? 0 : kShift), 0x00780078u,
                  0x41804180u);
  } else {
    constexpr int kShift = 4 * i - 6;
    return and_or(kShift < 0 ? word << -kShift : word >> (kShift < 0 ? 0 : kShift), 0x03c003c0u,
                  0x4c004c00u);
  }
}

union Pair16 {
  uint32_t bits;
  __nv_bfloat162 bf16;
  __half2 f16;
};

/// The low bytes of both halves of a word, less 128. A bf16 has 8 bits: the low seven are 128 and
/// more, from which the eighth takes 128 or 256.
template <DType type>
static __device__ __forceinline__ uint32_t low_bytes(uint32_t word) {
  Pair16 code, offset;
  if constexpr (type == DType::bf16) {
    code.bits = and_or(word, 0x007f007fu, 0x43004300u);
    offset.bits = (word & 0x00800080u) ^ 0x43804380u;
    code.bf16 = __hsub2(code.bf16, offset.bf16);
  } else {
    code.bits = and_or(word, 0x00ff00ffu, 0x64006400u);
    offset.bits = 0x64806480u;
    code.f16 = __hsub2(code.f16, offset.f16);
  }
  return code.bits;
}

/// A word's codes in pairs: of 4 bits (0, 4), (1, 5), (2, 6), (3, 7); of 8 (0, 2), (1, 3).
template <DType type, int bits>
static __device__ __forceinline__ void decode_word(uint32_t (&to)[16 / bits], uint32_t word) {
  if constexpr (bits == 4) {
    to[0] = nibbles<type, 0>(word), to[1] = nibbles<type, 1>(word);
    to[2] = nibbles<type, 2>(word), to[3] = nibbles<type, 3>(word);
  } else {
    to[0] = low_bytes<type>(word), to[1] = low_bytes<type>(word >> 8);
  }
}

/// A lane's words of a run of keys or values of 16 positions. `row`: where lane l % 16 has its
/// position's run.
template <int bits>
static __device__ __forceinline__ void load_keys(uint32_t (&words)[bits / 2], uint32_t row) {
  if constexpr (bits == 4)
    load_two(words, row);
  else
    load_matrices(words, row + threadIdx.x % 32 / 16 * 16);
}
template <int bits>
static __device__ __forceinline__ void load_values(uint32_t (&words)[bits / 2], uint32_t row) {
  if constexpr (bits == 4)
    load_two_transposed(words, row);
  else
    load_transposed(words, row + threadIdx.x % 32 / 16 * 16);
}

/// Both products of a run of keys: rows are positions, and elements of the run stand in the order
/// of packed_query().
template <DType type, int bits>
static __device__ __forceinline__ void decode_keys(uint32_t (&k)[2][4],
                                                   const uint32_t (&words)[bits / 2]) {
#pragma unroll
  for (int i = 0; i < bits / 2; ++i) {
    uint32_t pairs[16 / bits];
    decode_word<type, bits>(pairs, words[i]);
    const int h = i % 2;
    if constexpr (bits == 4) {
      k[0][h] = pairs[0], k[0][2 + h] = pairs[1];
      k[1][h] = pairs[2], k[1][2 + h] = pairs[3];
    } else {
      k[i / 2][h] = pairs[0], k[i / 2][2 + h] = pairs[1];
    }
  }
}
/// Both products of a run of values, as bf16: rows are elements, of which run_place() says which.
template <int bits>
static __device__ __forceinline__ void decode_values(uint32_t (&v)[2][4],
                                                     const uint32_t (&words)[bits / 2]) {
#pragma unroll
  for (int i = 0; i < bits / 2; ++i) {
    uint32_t pairs[16 / bits];
    decode_word<DType::bf16, bits>(pairs, words[i]);
    const int h = i % 2;
    if constexpr (bits == 4) {
      v[0][2 * h] = pairs[0], v[0][2 * h + 1] = pairs[1];
      v[1][2 * h] = pairs[2], v[1][2 * h + 1] = pairs[3];
    } else {
      v[i / 2][2 * h] = pairs[0], v[i / 2][2 * h + 1] = pairs[1];
    }
  }
}

/// The first of the two elements of a run that rows g and g + 8 of its product `half` are.
template <int bits>
static __device__ __forceinline__ int run_place(int half) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4;
  return bits == 4 ? 4 * g + 2 * half : 16 * half + 2 * g;
}

/// A lane's words of a run of queries (x, y: of 8-bit codes those of the run's first half; z, w of
/// its second) in the order of load_keys(): first and second product.
template <int bits>
static __device__ __forceinline__ uint4 packed_query(uint4 q) {
  if constexpr (bits == 4)
    return make_uint4(low_halves(q.x, q.z), high_halves(q.x, q.z), low_halves(q.y, q.w),
                      high_halves(q.y, q.w));
  return make_uint4(low_halves(q.x, q.y), high_halves(q.x, q.y), low_halves(q.z, q.w),
                    high_halves(q.z, q.w));
}

}  // namespace stepless::kernels::sm80
