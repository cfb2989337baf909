// Attention of prompts over plain pages of bf16 or f16, in an order of its own
// (prompt_attention.cuh). What it does not serve (heads other than of 64 or 128 elements, pages
// that do not hold whole chunks) goes to the rows' other kernel: shapes decide, never m.
#include "kernels/cuda/sm90/prompt_attention.cuh"

namespace stepless::kernels {

extern const CudaEntry attn_full_b16_fany_h64_sm80;

namespace {

using namespace sm90;

/// A cache's rows of `dim` elements of 16 bits, in boxes of 64 elements of a chunk.
cudaError_t describe(CUtensorMap& map, const uint8_t* rows, int dim) {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry,
                                                             12000, cudaEnableDefault, &found);
#else
  const cudaError_t error =
      cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &entry, cudaEnableDefault, &found);
#endif
  if (error != cudaSuccess) return error;
  if (entry == nullptr) return cudaErrorNotSupported;
  const cuuint64_t size[] = {static_cast<cuuint64_t>(dim), cuuint64_t{1} << 31};
  const cuuint64_t row_bytes = static_cast<cuuint64_t>(dim) * 2;
  const cuuint32_t box[] = {64, kChunk}, step[] = {1, 1};
  const CUresult result = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry)(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<uint8_t*>(rows), size, &row_bytes, box,
      step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

template <DType type, int kDim>
cudaError_t launch_tall(const AttnSlab& slab, const CudaContext& context) {
  constexpr int kBytes = TallRoom<kDim>::kBytes;
  const auto kernel = attend_tall<type, kDim>;
  TallCall call{slab, {}, {}};
  cudaError_t error = describe(call.keys, slab.args.cache.k, kDim);
  if (error == cudaSuccess) error = describe(call.values, slab.args.cache.v, kDim);
  if (error == cudaSuccess)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error != cudaSuccess) return error;
  // As many tiles as rows, if each is of a sequence of its own; blocks walk on by the grid.
  const int64_t most = slab.rows * slab.args.heads;
  const auto blocks =
      static_cast<unsigned>(most < context.multiprocessors ? most : context.multiprocessors);
  return launch_grid(kernel, {blocks, kTallThreads, kBytes}, context, call);
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
