// Attention of prompts over plain pages of bf16 or f16, in an order of its own
// (prompt_attention.cuh). What it does not serve (heads other than of 64 or 128 elements, pages
// that do not hold whole chunks) goes to the rows' other kernel: shapes decide, never m.
#include "kernels/cuda/sm90/prompt_launch.cuh"

namespace stepless::kernels {

extern const CudaEntry attn_full_b16_fany_h64_sm80;

namespace {

using namespace sm90;

int32_t launch_rows(const AttnArgs& a, bool makes_x, const CudaContext& context) {
  if (a.type != a.cache.type) return cudaErrorInvalidValue;
  const bool wide = a.cache.k_dim == 128, bf16 = a.type == DType::bf16;
  return launch_slabs(a, TallRoom<128>::kSlab, makes_x, [&](const AttnSlab& slab) {
    return bf16   ? wide ? launch_tall<DType::bf16, 128>(slab, context)
                         : launch_tall<DType::bf16, 64>(slab, context)
             : wide ? launch_tall<DType::f16, 128>(slab, context)
                  : launch_tall<DType::f16, 64>(slab, context);
  });
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const AttnArgs& a = *static_cast<const AttnArgs*>(opaque);
  return fits_tall(a) ? launch_rows(a, false, context)
                      : attn_full_b16_fany_h64_sm80.launch(opaque, context);
}

int32_t launch_as_x(const AttnArgs& a, const CudaContext& context) {
  return fits_tall(a) ? launch_rows(a, true, context) : cudaErrorNotSupported;
}

int64_t workspace(const void* opaque) {
  const AttnArgs& a = *static_cast<const AttnArgs*>(opaque);
  return fits_tall(a) ? 0 : attn_full_b16_fany_h64_sm80.workspace_bytes(opaque);
}

}  // namespace

STEPLESS_CUDA_KERNEL(attn_full_b16_fany_h128_sm90) = {
    .launch = launch, .workspace_bytes = workspace, .joined = {.attend_as_x = launch_as_x}};

}  // namespace stepless::kernels
