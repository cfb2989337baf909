// Attention over plain pages: of 16 bits and usual heads through shared memory, else as it comes.
#include "kernels/cuda/any/attention_staged.cuh"

namespace stepless::kernels {
namespace {

int32_t launch(const void* opaque, const CudaContext& context) {
  const AttnArgs& a = *static_cast<const AttnArgs*>(opaque);
  if (!can_stage(a)) return launch_attention<false>(opaque, context);
  StagedShape shape{a,
                    0,
                    static_cast<int>(a.heads / a.cache.kv_heads),
                    reinterpret_cast<float*>(context.workspace + kTicketBytes),
                    reinterpret_cast<unsigned*>(context.workspace),
                    0};
  for (; shape.first_row < a.rows; shape.first_row += kRowsAtOnce) {
    const int64_t left = a.rows - shape.first_row, rows = left < kRowsAtOnce ? left : kRowsAtOnce;
    const cudaError_t error = a.cache.type == DType::f16
                                  ? launch_staged<DType::f16>(shape, rows, context)
                                  : launch_staged<DType::bf16>(shape, rows, context);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace

STEPLESS_CUDA_KERNEL(attn_full_b16_fany_h1_cuda) = {launch, attention_workspace};

}  // namespace stepless::kernels
