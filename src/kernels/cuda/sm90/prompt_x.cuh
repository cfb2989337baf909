// Rows of x as operands: blocks of 64 rows, in them steps of 64 k of 8 KB, which one copy brings to
// shared memory as wgmma reads it.
#pragma once
#include "kernels/cuda/sm90/wgmma.cuh"

namespace stepless::kernels::sm90 {

using namespace sm80;

constexpr int kBlockRows = 64, kBlockBytes = kBlockRows * kStepK * 2;

/// Transposes 4 x 4 words over the four lanes of a quad: word i of lane t and word t of lane i
/// change places.
static __device__ __forceinline__ void transpose_quad(uint32_t (&v)[4], int t) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {  // 2 x 2 blocks
    const uint32_t give = t & 2 ? v[i] : v[i + 2];
    const uint32_t got = __shfl_xor_sync(~0u, give, 2);
    (t & 2 ? v[i] : v[i + 2]) = got;
  }
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const uint32_t give = t & 1 ? v[i] : v[i + 1];
    const uint32_t got = __shfl_xor_sync(~0u, give, 1);
    (t & 1 ? v[i] : v[i + 1]) = got;
  }
}

/// A warp makes 8 rows of a step; rows from m on are zero. Lane (g, t) reads 16 elements of row g,
/// and stores two chunks of 16 bytes: what the four lanes hold of one operand's half.
static __global__ void prepare_rows(const void* x, int64_t x_row_bytes, int m, int steps,
                                    uint8_t* to) {
  begin_early();
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int item = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  const int step = item % steps, eighth = item / steps, row = eighth * 8 + g;
  if (eighth * 8 >= (m + kBlockRows - 1) / kBlockRows * kBlockRows) return;
  uint32_t b[8];
  load_operands(x, x_row_bytes, row, m, step, t, b);
  uint8_t* const at = to + (static_cast<int64_t>(eighth / 8) * steps + step) * kBlockBytes +
                      (eighth % 8 * 8 + g) * 128;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t v[4] = {b[4 * half], b[4 * half + 1], b[4 * half + 2], b[4 * half + 3]};
    transpose_quad(v, t);
    *reinterpret_cast<uint4*>(at + ((4 * half + t) ^ g) * 16) = make_uint4(v[0], v[1], v[2], v[3]);
  }
}

}  // namespace stepless::kernels::sm90
