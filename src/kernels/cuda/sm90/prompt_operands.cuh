// Where rows of x stand as operands of products of prompts: blocks of 64 rows, in them steps of 64
// k of 8 KB, which one copy brings to shared memory as wgmma reads it. By those who make x.
#pragma once
#include "kernels/cuda/sm90/wgmma.cuh"

namespace stepless::kernels::sm90 {

using namespace sm80;

constexpr int kBlockRows = 64, kBlockBytes = kBlockRows * kStepK * 2;

/// Transposes 4 x 4 words over four lanes, `kApart` apart: word i of lane t and word t of lane i
/// change places.
template <int kApart>
static __device__ __forceinline__ void transpose_quad(uint32_t (&v)[4], int t) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {  // 2 x 2 blocks
    const uint32_t give = t & 2 ? v[i] : v[i + 2];
    const uint32_t got = __shfl_xor_sync(~0u, give, 2 * kApart);
    (t & 2 ? v[i] : v[i + 2]) = got;
  }
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const uint32_t give = t & 1 ? v[i] : v[i + 1];
    const uint32_t got = __shfl_xor_sync(~0u, give, kApart);
    (t & 1 ? v[i] : v[i + 1]) = got;
  }
}

/// Where row's 16 bytes `chunk` of a step stand.
static __device__ __forceinline__ uint8_t* chunk_of_x(uint8_t* x, int steps, int row, int step,
                                                      int chunk) {
  return x + (static_cast<int64_t>(row / kBlockRows) * steps + step) * kBlockBytes +
         row % kBlockRows * 128 + (chunk ^ (row % 8)) * 16;
}

/// Stores elements 8 i to 8 i + 7 of a row. Lanes of a warp do it together, and i has the last
/// three bits of the lane's number.
static __device__ __forceinline__ void store_as_operands(uint8_t* to, int steps, int row, int i,
                                                         uint4 elements) {
  uint32_t b[8];
  permute_x(elements, elements, b);
  const int t = i / 2 % 4, half = i % 2;
  uint32_t v[4] = {b[0], b[1], b[2], b[3]};
  transpose_quad<2>(v, t);
  *reinterpret_cast<uint4*>(chunk_of_x(to, steps, row, i / 8, 4 * half + t)) =
      make_uint4(v[0], v[1], v[2], v[3]);
}

/// The same of what a quad has of products: lane t has elements 2 t and 2 t + 1 of each eight of a
/// row, of a step pairs[8], narrowed. All lanes of a warp come, whether their row is one or not.
static __device__ __forceinline__ void store_quads_as_operands(uint8_t* to, int steps, int row,
                                                               int step, int t,
                                                               const uint32_t (&pairs)[8],
                                                               bool is_row) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t v[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t own = pairs[2 * i + half], other = __shfl_xor_sync(~0u, own, 2);
      v[i] = t < 2 ? __byte_perm(own, other, 0x5410) : __byte_perm(other, own, 0x7632);
    }
    const int word = t < 2 ? 2 * t : 2 * t - 3;  // of each eight, that this lane has now
    if (is_row)
      *reinterpret_cast<uint4*>(chunk_of_x(to, steps, row, step, 4 * half + word)) =
          make_uint4(v[0], v[1], v[2], v[3]);
  }
}

}  // namespace stepless::kernels::sm90
