// Rotary embedding. A pair is read whole by the thread that writes it, so y may be x.
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/rope.cuh"

namespace stepless::kernels {
namespace {

constexpr int kThreads = 128;

__global__ void rope(RopeArgs args) {
  begin_early();
  const int64_t row = blockIdx.x;
  const int units = static_cast<int>(rope_units(args));
  for (int unit = blockIdx.y * kThreads + threadIdx.x; unit < units; unit += gridDim.y * kThreads)
    turn_unit(args, row, unit, [&](int64_t at, float value) {
      store(args.y, args.type, row * args.y_stride + at, value);
    });
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const RopeArgs& args = *static_cast<const RopeArgs*>(opaque);
  const dim3 blocks(grid_for(args.rows), blocks_for_units(rope_units(args), kThreads));
  return launch_grid(rope, {blocks, kThreads}, context, args);
}

}  // namespace

STEPLESS_CUDA_KERNEL(rope_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
