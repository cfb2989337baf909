// y = x · wᵀ for every mode, width, group and type: for correctness first. A warp computes one
// output for 8 rows of x; lane l takes the elements k = l, l + 32, ... in order, a butterfly adds
// the lanes. All in float64, so that a weight is rounded once, to y's type.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/args.hpp"

namespace stepless::kernels {
namespace {

constexpr int kRows = 8, kWarps = 8;

__device__ float load(const void* p, DType type, int64_t i) {
  if (type == DType::f32) return static_cast<const float*>(p)[i];
  if (type == DType::f16) return __half2float(static_cast<const __half*>(p)[i]);
  return __bfloat162float(static_cast<const __nv_bfloat16*>(p)[i]);
}

__device__ void store(void* p, DType type, int64_t i, double value) {
  if (type == DType::f32)
    static_cast<float*>(p)[i] = __double2float_rn(value);
  else if (type == DType::f16)
    static_cast<__half*>(p)[i] = __double2half(value);
  else
    static_cast<__nv_bfloat16*>(p)[i] = __double2bfloat16(value);
}

__device__ unsigned code(const uint8_t* row, int bits, int64_t i) {
  const int64_t bit = i * bits;
  unsigned v = row[bit / 8];
  if (bit % 8 + bits > 8) v |= static_cast<unsigned>(row[bit / 8 + 1]) << 8;
  return v >> (bit % 8) & ((1u << bits) - 1);
}

__device__ float e2m1(unsigned c) {
  const unsigned magnitude = c & 7;
  const float v = magnitude < 2 ? 0.5f * static_cast<float>(magnitude)
                                : ldexpf(1.0f + 0.5f * static_cast<float>(magnitude & 1),
                                         static_cast<int>(magnitude >> 1) - 1);
  return (c & 8) != 0 ? -v : v;
}

__device__ float e4m3(unsigned c) {
  const int exponent = static_cast<int>(c >> 3 & 15);
  const float fraction = static_cast<float>(c & 7) * 0.125f;
  const float v = exponent == 0 ? ldexpf(fraction, -6) : ldexpf(1.0f + fraction, exponent - 7);
  return (c & 0x80) != 0 ? -v : v;
}

__device__ double weight(const MatmulArgs& a, int64_t row, int64_t i) {
  const int64_t group = row * (a.k / a.group_size) + i / a.group_size;
  const unsigned c = code(a.w + row * a.w_row_bytes, a.bits, i);
  if (a.mode == Mode::affine)
    return fma(static_cast<double>(load(a.scales, a.w_type, group)), static_cast<double>(c),
               static_cast<double>(load(a.biases, a.w_type, group)));
  const float element = a.mode == Mode::mxfp8 ? e4m3(c) : e2m1(c);
  const float scale = a.mode == Mode::nvfp4 ? e4m3(a.scales[group]) * a.tensor_scale
                                            : ldexpf(1.0f, static_cast<int>(a.scales[group]) - 127);
  return static_cast<double>(scale) * element;
}

__global__ void multiply(MatmulArgs a) {
  const int lane = threadIdx.x % 32;
  for (int64_t out = blockIdx.x * kWarps + threadIdx.x / 32; out < a.n;
       out += static_cast<int64_t>(gridDim.x) * kWarps)
    for (int64_t row = 0; row < a.m; row += kRows) {
      double sums[kRows] = {};
      for (int64_t i = lane; i < a.k; i += 32) {
        const double w = weight(a, out, i);
#pragma unroll
        for (int r = 0; r < kRows; ++r)
          if (row + r < a.m)
            sums[r] = fma(w, static_cast<double>(load(a.x, a.x_type, (row + r) * a.x_stride + i)),
                          sums[r]);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        for (int other = 16; other > 0; other /= 2) sums[r] += __shfl_xor_sync(~0u, sums[r], other);
        if (lane == 0 && row + r < a.m) store(a.y, a.y_type, (row + r) * a.y_stride + out, sums[r]);
      }
    }
}

int32_t launch(const void* args, const CudaContext& context) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  const int64_t blocks = (a.n + kWarps - 1) / kWarps;
  multiply<<<static_cast<unsigned>(blocks < 65536 ? blocks : 65536), kWarps * 32, 0,
             static_cast<cudaStream_t>(context.stream)>>>(a);
  return cudaGetLastError();
}

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_wany_bany_fany_m8n1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
