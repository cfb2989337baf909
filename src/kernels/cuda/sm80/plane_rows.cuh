// Products of float32 x by kernels that take bf16: a float32 is the sum of three bf16, 8 bits each.
// Each row becomes three, whose products in float32 are added, the smallest first.
#pragma once
#include <cuda_runtime.h>

#include "kernels/args.hpp"
#include "kernels/cuda/any/launch.cuh"

namespace stepless::kernels::sm80 {

constexpr int kPlanes = 3, kPlaneRows = 16;  // rows of x at a time
constexpr int kPlaneThreads = 256;

/// Bits of the upper half, and what is left: both exact. Of infinities and NaN nothing is left.
static __device__ __forceinline__ unsigned take_plane(float& x) {
  unsigned bits = __float_as_uint(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) {
    x = 0;
    return bits << 9 != 0 ? 0x7fc0u : bits >> 16;
  }
  bits &= 0xffff0000u;
  x -= __uint_as_float(bits);
  return bits >> 16;
}

/// planes (m, 3, k), the largest first; a thread takes two neighbours.
static __global__ void __launch_bounds__(kPlaneThreads)
    split_planes(const float* x, int64_t x_stride, unsigned* planes, int64_t pairs) {
  begin_early();
  const float* const from = x + blockIdx.y * x_stride;
  unsigned* const to = planes + blockIdx.y * kPlanes * pairs;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kPlaneThreads + threadIdx.x; i < pairs;
       i += static_cast<int64_t>(gridDim.x) * kPlaneThreads) {
    float low = from[2 * i], high = from[2 * i + 1];
#pragma unroll
    for (int p = 0; p < kPlanes; ++p) {
      const unsigned first = take_plane(low);
      to[p * pairs + i] = first | take_plane(high) << 16;
    }
  }
}

/// y (m, n) of the planes' products (m, 3, n).
static __global__ void __launch_bounds__(kPlaneThreads)
    add_planes(const float* products, float* y, int64_t y_stride, int64_t n) {
  begin_early();
  const float* const from = products + blockIdx.y * kPlanes * n;
  float* const to = y + blockIdx.y * y_stride;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kPlaneThreads + threadIdx.x; i < n;
       i += static_cast<int64_t>(gridDim.x) * kPlaneThreads)
    to[i] = __fadd_rn(__fadd_rn(from[2 * n + i], from[n + i]), from[i]);
}

static int64_t planes_bytes(int64_t k) { return kPlanes * kPlaneRows * k * 2; }
static int64_t plane_workspace_bytes(const MatmulArgs& a, int64_t own) {
  return own + planes_bytes(a.k) + kPlanes * kPlaneRows * a.n * 4;
}

/// product(args): launches x in bf16, y in float32. `own`: bytes in front of the workspace that are
/// its own, a multiple of 16. bf16 x goes there as it is.
template <class Product>
static int32_t launch_planes(const MatmulArgs& a, int64_t own, const CudaContext& context,
                             Product product) {
  if (a.x_type == DType::bf16) return product(a);
  uint8_t* const planes = context.workspace + own;
  float* const products = reinterpret_cast<float*>(planes + planes_bytes(a.k));
  for (int64_t row = 0; row < a.m; row += kPlaneRows) {
    const int64_t m = a.m - row < kPlaneRows ? a.m - row : kPlaneRows, pairs = a.k / 2;
    const auto grid = [&](int64_t items) {
      const int64_t blocks = (items + kPlaneThreads - 1) / kPlaneThreads;
      return Grid{dim3(static_cast<unsigned>(blocks < 64 ? blocks : 64), static_cast<unsigned>(m)),
                  kPlaneThreads};
    };
    int32_t error = launch_grid(split_planes, grid(pairs), context,
                                static_cast<const float*>(a.x) + row * a.x_stride, a.x_stride,
                                reinterpret_cast<unsigned*>(planes), pairs);
    if (error != cudaSuccess) return error;
    MatmulArgs now = a;
    now.x = planes, now.x_type = DType::bf16, now.x_stride = a.k;
    now.y = products, now.y_type = DType::f32, now.y_stride = a.n, now.m = m * kPlanes;
    error = product(now);
    if (error != cudaSuccess) return error;
    error = launch_grid(add_planes, grid(a.n), context, products,
                        static_cast<float*>(a.y) + row * a.y_stride, a.y_stride, a.n);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace stepless::kernels::sm80
