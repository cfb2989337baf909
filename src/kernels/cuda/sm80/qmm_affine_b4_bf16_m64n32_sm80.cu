// y = x · wᵀ for m from 17 on, 64 rows at a time: x in shared memory.
//
// Bound by neither memory nor any one pipe: on an H200 warps stall on the weights, on fixed waits
// and on the dispatch of products about alike. Tried and lost there (-5 to +12 %): the two chains
// of a part in two warps, which spares the sums set aside and every spill; 8 and 10 warps instead
// of 12; steps not unrolled.
#include "kernels/cuda/sm80/flat_launch.cuh"

namespace stepless::kernels {
namespace {

using sm80::kManyRows, sm80::kMostTickets, sm80::kPartK, sm80::launch_many;

int32_t launch(const void* args, const CudaContext& context) {
  MatmulArgs a = *static_cast<const MatmulArgs*>(args);
  const int64_t m = a.m, y_size = a.y_type == DType::f32 ? 4 : 2;
  for (int64_t row = 0; row < m; row += kManyRows) {
    a.m = m - row < kManyRows ? m - row : kManyRows;
    const bool half = a.m <= kManyRows / 2;
    const cudaError_t error = a.group_size == 64 ? (half ? launch_many<1, 64, 2, 12>(a, context)
                                                         : launch_many<2, 64, 3, 4>(a, context))
                                                 : (half ? launch_many<1, 128, 2, 12>(a, context)
                                                         : launch_many<2, 128, 3, 4>(a, context));
    if (error != cudaSuccess) return error;
    a.x = static_cast<const uint8_t*>(a.x) + kManyRows * a.x_stride * 2;
    a.y = static_cast<uint8_t*>(a.y) + kManyRows * a.y_stride * y_size;
  }
  return cudaSuccess;
}

int64_t workspace_bytes(const void* args) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  const int64_t parts = (a.k + kPartK - 1) / kPartK, rows = (a.n + 31) / 32 * 32;
  return kMostTickets * 4 + rows * parts * kManyRows * 4;
}

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_b4_bf16_m64n32_sm80) = {launch, workspace_bytes};

}  // namespace stepless::kernels
