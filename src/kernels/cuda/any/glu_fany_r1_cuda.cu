// Gated activation of the feed-forward layer: y = act(gate) * (up + offset), both cut to a limit
// first where the model does that.
#include "kernels/cuda/any/elements.cuh"

namespace stepless::kernels {
namespace {

__device__ float activate(const GluArgs& args, float x) {
  switch (args.activation) {
    case Activation::silu:
      return x / (1.0f + expf(-x));
    case Activation::gelu:
      return 0.5f * x * erfcf(x * -0.70710678f);  // erfc: nothing cancels for x < 0
    case Activation::gelu_tanh: {
      // The tanh form as x times a logistic, for the same reason.
      const float inner = x + x * x * x * 0.044715f;
      return x / (1.0f + expf(inner * -1.59576912f));
    }
    case Activation::relu:
      return x < 0.0f ? 0.0f : x;
    case Activation::swish:
      return x / (1.0f + expf(x * -args.alpha));
    case Activation::sigmoid:
      return 1.0f / (1.0f + expf(-x));
  }
  return x;
}

/// The lower of x and top; a NaN stays.
__device__ float cut(float x, float top) { return x > top ? top : x; }

__device__ void glu(const GluArgs& args, int64_t row, int64_t i) {
  float gate = load(args.gate, args.type, row * args.gate_stride + (args.one_gate ? 0 : i));
  float up = load(args.up, args.type, row * args.up_stride + i);
  if (args.limit != 0.0f) {
    gate = cut(gate, args.limit);
    up = -cut(-cut(up, args.limit), args.limit);
  }
  if (args.up_offset != 0.0f) up += args.up_offset;
  store(args.y, args.type, row * args.y_stride + i, activate(args, gate) * up);
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const GluArgs& args = *static_cast<const GluArgs*>(opaque);
  return launch_elements<GluArgs, glu>(args, args.rows, args.width, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(glu_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
