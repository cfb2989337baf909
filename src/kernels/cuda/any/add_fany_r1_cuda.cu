// Residual sums, biases, scaled rows and the final softcap: y = a * a_scale + b * b_scale.
#include "kernels/cuda/any/elements.cuh"

namespace stepless::kernels {
namespace {

__device__ void add(const AddArgs& args, int64_t row, int64_t i) {
  float y = load(args.a, args.type, row * args.a_stride + i) * args.a_scale;
  if (args.b != nullptr) {
    const int64_t b_row = args.b_row ? 0 : args.b_ids != nullptr ? args.b_ids[row] : row;
    y += load(args.b, args.b_type, b_row * args.b_stride + i) * args.b_scale;
  }
  if (args.softcap != 0.0f) y = tanhf(y / args.softcap) * args.softcap;
  store(args.y, args.y_type, row * args.y_stride + i, y);
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const AddArgs& args = *static_cast<const AddArgs*>(opaque);
  return launch_elements<AddArgs, add>(args, args.rows, args.width, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(add_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
