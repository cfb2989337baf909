// Gated activation of the feed-forward layer.
#include "kernels/cuda/any/elements.cuh"
#include "kernels/cuda/any/glu.cuh"

namespace stepless::kernels {
namespace {

__device__ void glu(const GluArgs& args, int64_t row, int64_t i) {
  const float gate = load(args.gate, args.type, row * args.gate_stride + (args.one_gate ? 0 : i));
  const float up = load(args.up, args.type, row * args.up_stride + i);
  store(args.y, args.type, row * args.y_stride + i, gated(args, gate, up));
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const GluArgs& args = *static_cast<const GluArgs*>(opaque);
  return launch_elements<GluArgs, glu>(args, args.rows, args.width, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(glu_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
