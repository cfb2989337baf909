// Gated activation of the feed-forward layer.
#include "kernels/cuda/any/eights.cuh"
#include "kernels/cuda/any/elements.cuh"
#include "kernels/cuda/any/glu.cuh"

namespace stepless::kernels {
namespace {

__device__ void glu(const GluArgs& args, int64_t row, int64_t i) {
  const float gate = load(args.gate, args.type, row * args.gate_stride + (args.one_gate ? 0 : i));
  const float up = load(args.up, args.type, row * args.up_stride + i);
  store(args.y, args.type, row * args.y_stride + i, gated(args, gate, up));
}

/// Eight elements a thread, which give the bits of one at a time.
template <DType type>
__device__ void glu_eight(const GluArgs& args, int64_t row, int64_t i) {
  float gate[8], up[8];
  load_eight<type>(args.gate, row * args.gate_stride + i * 8, gate);
  load_eight<type>(args.up, row * args.up_stride + i * 8, up);
  gate_all(args, gate, up);
  store_eight(args.y, type, row * args.y_stride + i * 8, up);
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const GluArgs& args = *static_cast<const GluArgs*>(opaque);
  const bool eights = !args.one_gate && args.width % 8 == 0 &&
                      lies_in_eights(args.gate, args.gate_stride, args.type) &&
                      lies_in_eights(args.up, args.up_stride, args.type) &&
                      lies_in_eights(args.y, args.y_stride, args.type);
  if (!eights) return launch_elements<GluArgs, glu>(args, args.rows, args.width, context);
  return args.type == DType::bf16 ? launch_elements<GluArgs, glu_eight<DType::bf16>>(
                                        args, args.rows, args.width / 8, context)
                                  : launch_elements<GluArgs, glu_eight<DType::f16>>(
                                        args, args.rows, args.width / 8, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(glu_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
