// y = x · wᵀ in float64, for correctness first: a warp computes one output for 8 rows of x; lane l
// takes the elements k = l, l + 32, ... in order, a butterfly adds the lanes. A weight is rounded
// once, to y's type. W gives weight(args, row, element).
#pragma once
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

constexpr int kRows = 8, kWarps = 8;

template <double (*weight)(const MatmulArgs&, int64_t, int64_t)>
__global__ void multiply(MatmulArgs a) {
  begin_early();
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

template <double (*weight)(const MatmulArgs&, int64_t, int64_t)>
int32_t launch_product(const void* args, const CudaContext& context) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  const int64_t blocks = (a.n + kWarps - 1) / kWarps;
  const Grid grid{static_cast<unsigned>(blocks < 65536 ? blocks : 65536), kWarps * 32};
  return launch_grid(multiply<weight>, grid, context, a);
}

}  // namespace
}  // namespace stepless::kernels
