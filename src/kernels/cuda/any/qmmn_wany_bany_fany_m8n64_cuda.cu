// y = x · w for every mode, width, group and type, with double sums: w is (k, n), packed along n. A
// block computes 64 outputs, a lane two neighbours, of 8 rows of x; its warps take the rows of w in
// turns and add up in the end, in order.
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

constexpr int kRows = 8, kOutputs = 64, kWarps = 16;

__global__ void __launch_bounds__(kWarps * 32) multiply_across(MatmulArgs a) {
  __shared__ double room[kWarps][kOutputs];
  begin_early();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t out0 = int64_t{blockIdx.x} * kOutputs, mine = out0 + lane * 2;
  for (int64_t row = 0; row < a.m; row += kRows) {
    double sums[kRows][2] = {};
    for (int64_t i = warp; i < a.k && mine < a.n; i += kWarps) {  // n is even: groups are
      const double first = packed_weight(a, i, mine, a.n),
                   next = packed_weight(a, i, mine + 1, a.n);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (row + r >= a.m) break;
        const double x = load(a.x, a.x_type, (row + r) * a.x_stride + i);
        sums[r][0] = fma(first, x, sums[r][0]), sums[r][1] = fma(next, x, sums[r][1]);
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      room[warp][lane * 2] = sums[r][0], room[warp][lane * 2 + 1] = sums[r][1];
      __syncthreads();
      if (threadIdx.x < kOutputs && out0 + threadIdx.x < a.n && row + r < a.m) {
        double y = 0;
        for (int w = 0; w < kWarps; ++w) y += room[w][threadIdx.x];
        store(a.y, a.y_type, (row + r) * a.y_stride + out0 + threadIdx.x, y);
      }
      __syncthreads();
    }
  }
}

int32_t launch(const void* args, const CudaContext& context) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  const Grid grid{grid_for((a.n + kOutputs - 1) / kOutputs), kWarps * 32};
  return launch_grid(multiply_across, grid, context, a);
}

}  // namespace

STEPLESS_CUDA_KERNEL(qmmn_wany_bany_fany_m8n64_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
