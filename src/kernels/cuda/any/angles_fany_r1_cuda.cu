// cos and sin of the rotary angles of a step's rows, computed once per step from double, so that
// every layer reads the same numbers and long positions lose nothing.
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

__global__ void angles(AnglesArgs args) {
  begin_early();
  const int64_t row = blockIdx.x;
  float* cosines = args.y + row * 2 * args.pairs;
  for (int64_t i = threadIdx.x; i < args.pairs; i += blockDim.x) {
    double sine, cosine;
    sincos(static_cast<double>(args.positions[row]) * args.inv_freq[i], &sine, &cosine);
    cosines[i] = static_cast<float>(cosine * args.scale);
    cosines[args.pairs + i] = static_cast<float>(sine * args.scale);
  }
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const AnglesArgs& args = *static_cast<const AnglesArgs*>(opaque);
  return launch_grid(angles, {grid_for(args.rows), 64}, context, args);
}

}  // namespace

STEPLESS_CUDA_KERNEL(angles_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
