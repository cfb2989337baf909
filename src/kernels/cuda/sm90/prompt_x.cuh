// Rows of x made to operands (prompt_operands.cuh), for those products whose x nobody made so.
#pragma once
#include "kernels/cuda/sm90/prompt_operands.cuh"

namespace stepless::kernels::sm90 {

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
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t v[4] = {b[4 * half], b[4 * half + 1], b[4 * half + 2], b[4 * half + 3]};
    transpose_quad<1>(v, t);
    *reinterpret_cast<uint4*>(chunk_of_x(to, steps, row, step, 4 * half + t)) =
        make_uint4(v[0], v[1], v[2], v[3]);
  }
}

}  // namespace stepless::kernels::sm90
