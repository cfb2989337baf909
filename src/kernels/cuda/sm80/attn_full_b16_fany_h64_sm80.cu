// Attention over plain pages of bf16 or f16, heads of up to 256 elements, by tensor cores.
#include "kernels/cuda/sm80/attention_merge.cuh"
#include "kernels/cuda/sm80/attention_tiles.cuh"

namespace stepless::kernels {
namespace {

using namespace sm80;

constexpr int64_t kFewRows = 64;

template <DType type, int kTiles, int kCols>
cudaError_t launch_slab(AttnSlab slab, const CudaContext& context) {
  const AttnArgs& a = slab.args;
  const int64_t heads = a.heads / a.cache.kv_heads;
  slab.heads_of_tile = static_cast<int>(heads < 16 * kTiles ? heads : 16 * kTiles);
  slab.batches = static_cast<int>((heads + slab.heads_of_tile - 1) / slab.heads_of_tile);
  const int bytes = room_of(a, 16 * kTiles).end * 2;
  const auto kernel = attend_tiles<type, kTiles, kCols>;
  cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  int each = 0;
  error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, kAttnThreads,
                                                        static_cast<std::size_t>(bytes));
  if (error != cudaSuccess) return error;
  // As many tiles as rows, if each is of a sequence of its own; blocks walk on by the grid.
  const int64_t most = slab.rows * a.cache.kv_heads * slab.batches * kShares;
  const int64_t resident = int64_t{context.multiprocessors} * (each > 0 ? each : 1);
  const auto blocks = static_cast<unsigned>(most < resident ? most : resident);
  error =
      launch_grid(kernel, {blocks, kAttnThreads, static_cast<std::size_t>(bytes)}, context, slab);
  if (error != cudaSuccess) return error;
  return launch_grid(merge_tiles<type>, {static_cast<unsigned>(slab.rows * a.heads), 128}, context,
                     slab);
}

/// Tiles of 16 where rows are likely to be of sequences of their own, of more in prompts.
template <DType type>
cudaError_t launch_type(const AttnSlab& slab, const CudaContext& context) {
  const int64_t columns = slab.args.cache.v_dim;
  if (slab.args.rows <= kFewRows)
    return columns <= 64    ? launch_slab<type, 1, 2>(slab, context)
           : columns <= 128 ? launch_slab<type, 1, 4>(slab, context)
                            : launch_slab<type, 1, 8>(slab, context);
  return columns <= 64    ? launch_slab<type, 4, 2>(slab, context)
         : columns <= 128 ? launch_slab<type, 4, 4>(slab, context)
                          : launch_slab<type, 2, 8>(slab, context);
}

int32_t launch(const void* opaque, const CudaContext& context) {
  AttnSlab slab{*static_cast<const AttnArgs*>(opaque),
                0,
                0,
                0,
                0,
                reinterpret_cast<float*>(context.workspace + kTicketBytes)};
  const AttnArgs& a = slab.args;
  if (a.type != a.cache.type) return cudaErrorInvalidValue;
  for (; slab.first_row < a.rows; slab.first_row += kSlabRows) {
    const int64_t left = a.rows - slab.first_row;
    slab.rows = static_cast<int>(left < kSlabRows ? left : kSlabRows);
    const cudaError_t error = a.type == DType::bf16 ? launch_type<DType::bf16>(slab, context)
                                                    : launch_type<DType::f16>(slab, context);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

int64_t workspace(const void* opaque) {
  const AttnArgs& a = *static_cast<const AttnArgs*>(opaque);
  const int64_t rows = a.rows < kSlabRows ? a.rows : kSlabRows;
  return kTicketBytes + rows * a.heads * kShares * (a.cache.v_dim + 2) * 4;
}

}  // namespace

STEPLESS_CUDA_KERNEL(attn_full_b16_fany_h64_sm80) = {launch, workspace};

}  // namespace stepless::kernels
