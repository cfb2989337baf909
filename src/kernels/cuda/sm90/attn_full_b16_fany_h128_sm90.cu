// Attention of prompts over plain pages of bf16 or f16, in an order of its own
// (prompt_attention.cuh). What it does not serve (heads other than of 64 or 128 elements, pages
// that do not hold whole chunks) goes to the rows' other kernel: shapes decide, never m.
#include "kernels/cuda/sm90/prompt_attention.cuh"

namespace stepless::kernels {

extern const CudaEntry attn_full_b16_fany_h64_sm80;

namespace {

using namespace sm90;

template <DType type, int kDim>
cudaError_t launch_tall(AttnSlab slab, const CudaContext& context) {
  constexpr int kBytes = TallRoom<kDim>::kBytes;
  const auto kernel = attend_tall<type, kDim>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error != cudaSuccess) return error;
  // As many tiles as rows, if each is of a sequence of its own; blocks walk on by the grid.
  const int64_t most = slab.rows * slab.args.heads;
  const auto blocks =
      static_cast<unsigned>(most < context.multiprocessors ? most : context.multiprocessors);
  return launch_grid(kernel, {blocks, kTallThreads, kBytes}, context, slab);
}

bool serves(const AttnArgs& a) {
  const int64_t dim = a.cache.k_dim;
  return (dim == 64 || dim == 128) && a.cache.v_dim == dim && a.cache.page_tokens % kChunk == 0 &&
         a.q_stride % 8 == 0 && a.y_stride % 2 == 0;
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const AttnArgs& a = *static_cast<const AttnArgs*>(opaque);
  if (!serves(a)) return attn_full_b16_fany_h64_sm80.launch(opaque, context);
  if (a.type != a.cache.type) return cudaErrorInvalidValue;
  AttnSlab slab = slab_of(a);
  for (; slab.first_row < a.rows; slab.first_row += kTallSlab) {
    const int64_t left = a.rows - slab.first_row;
    slab.rows = static_cast<int>(left < kTallSlab ? left : kTallSlab);
    const bool wide = a.cache.k_dim == 128;
    const cudaError_t error = a.type == DType::bf16
                                  ? wide ? launch_tall<DType::bf16, 128>(slab, context)
                                         : launch_tall<DType::bf16, 64>(slab, context)
                              : wide ? launch_tall<DType::f16, 128>(slab, context)
                                     : launch_tall<DType::f16, 64>(slab, context);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

int64_t workspace(const void* opaque) {
  const AttnArgs& a = *static_cast<const AttnArgs*>(opaque);
  return serves(a) ? 0 : attn_full_b16_fany_h64_sm80.workspace_bytes(opaque);
}

}  // namespace

STEPLESS_CUDA_KERNEL(attn_full_b16_fany_h128_sm90) = {launch, workspace};

}  // namespace stepless::kernels
