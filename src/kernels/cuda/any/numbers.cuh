// Numbers out of stored bytes, for the portable rows: elements, packed codes, decoded weights.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/args.hpp"

namespace stepless::kernels {
namespace {

inline __device__ int64_t bytes_of(DType type) { return type == DType::f32 ? 4 : 2; }

inline __device__ float load(const void* p, DType type, int64_t i) {
  if (type == DType::f32) return static_cast<const float*>(p)[i];
  if (type == DType::f16) return __half2float(static_cast<const __half*>(p)[i]);
  return __bfloat162float(static_cast<const __nv_bfloat16*>(p)[i]);
}

inline __device__ void store(void* p, DType type, int64_t i, double value) {
  if (type == DType::f32)
    static_cast<float*>(p)[i] = __double2float_rn(value);
  else if (type == DType::f16)
    static_cast<__half*>(p)[i] = __double2half(value);
  else
    static_cast<__nv_bfloat16*>(p)[i] = __double2bfloat16(value);
}

inline __device__ void store(void* p, DType type, int64_t i, float value) {
  if (type == DType::f32)
    static_cast<float*>(p)[i] = value;
  else if (type == DType::f16)
    static_cast<__half*>(p)[i] = __float2half_rn(value);
  else
    static_cast<__nv_bfloat16*>(p)[i] = __float2bfloat16_rn(value);
}

inline __device__ float rounded_to(DType type, float value) {
  if (type == DType::f16) return __half2float(__float2half_rn(value));
  return type == DType::bf16 ? __bfloat162float(__float2bfloat16_rn(value)) : value;
}

inline __device__ unsigned code(const uint8_t* row, int bits, int64_t i) {
  const int64_t bit = i * bits;
  unsigned v = row[bit / 8];
  if (bit % 8 + bits > 8) v |= static_cast<unsigned>(row[bit / 8 + 1]) << 8;
  return v >> (bit % 8) & ((1u << bits) - 1);
}

inline __device__ float e2m1(unsigned c) {
  const unsigned magnitude = c & 7;
  const float v = magnitude < 2 ? 0.5f * static_cast<float>(magnitude)
                                : ldexpf(1.0f + 0.5f * static_cast<float>(magnitude & 1),
                                         static_cast<int>(magnitude >> 1) - 1);
  return (c & 8) != 0 ? -v : v;
}

inline __device__ float e4m3(unsigned c) {
  const int exponent = static_cast<int>(c >> 3 & 15);
  const float fraction = static_cast<float>(c & 7) * 0.125f;
  const float v = exponent == 0 ? ldexpf(fraction, -6) : ldexpf(1.0f + fraction, exponent - 7);
  return (c & 0x80) != 0 ? -v : v;
}

/// Element i of a row of `width` of a packed matrix, exact in float64.
inline __device__ double packed_weight(const MatmulArgs& a, int64_t row, int64_t i, int64_t width) {
  const int64_t group = row * (width / a.group_size) + i / a.group_size;
  const unsigned c = code(a.w + row * a.w_row_bytes, a.bits, i);
  if (a.mode == Mode::affine)
    return fma(static_cast<double>(load(a.scales, a.w_type, group)), static_cast<double>(c),
               static_cast<double>(load(a.biases, a.w_type, group)));
  const float element = a.mode == Mode::mxfp8 ? e4m3(c) : e2m1(c);
  const float scale = a.mode == Mode::nvfp4 ? e4m3(a.scales[group]) * a.tensor_scale
                                            : ldexpf(1.0f, static_cast<int>(a.scales[group]) - 127);
  return static_cast<double>(scale) * element;
}

inline __device__ double packed_weight(const MatmulArgs& a, int64_t row, int64_t i) {
  return packed_weight(a, row, i, a.k);
}

inline __device__ double dense_weight(const MatmulArgs& a, int64_t row, int64_t i) {
  return static_cast<double>(load(a.w + row * a.w_row_bytes, a.w_type, i));
}

/// Sums over a block, in an order that depends on the block's size alone; every thread gets the
/// total. `room`: one T per warp.
template <class T>
inline __device__ T block_sum(T value, T* room) {
  for (int other = 16; other > 0; other /= 2) value += __shfl_xor_sync(~0u, value, other);
  const int warp = static_cast<int>(threadIdx.x) / 32, warps = static_cast<int>(blockDim.x) / 32;
  __syncthreads();
  if (threadIdx.x % 32 == 0) room[warp] = value;
  __syncthreads();
  T total = room[0];
  for (int w = 1; w < warps; ++w) total += room[w];
  return total;
}

}  // namespace
}  // namespace stepless::kernels
