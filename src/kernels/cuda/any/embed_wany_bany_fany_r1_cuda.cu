// Rows of a table, packed or dense (its scales are null). Each value is rounded once to y's type.
// An id below 0 is read as 0: a sampler that could draw nothing says -1, and a step launched behind
// it begins there before the host can know.
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

constexpr int kThreads = 128;

__global__ void embed(EmbedArgs args) {
  const MatmulArgs& table = args.table;
  begin_early();
  const int64_t row = blockIdx.x, id = args.ids[row] < 0 ? 0 : args.ids[row];
  const int64_t first = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  for (int64_t k = first; k < table.k; k += static_cast<int64_t>(gridDim.y) * blockDim.x)
    store(table.y, table.y_type, row * table.y_stride + k,
          table.scales != nullptr ? packed_weight(table, id, k) : dense_weight(table, id, k));
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const EmbedArgs& args = *static_cast<const EmbedArgs*>(opaque);
  const int64_t slices = (args.table.k + kThreads - 1) / kThreads;
  const dim3 blocks(grid_for(args.table.m), static_cast<unsigned>(slices < 64 ? slices : 64));
  return launch_grid(embed, {blocks, kThreads}, context, args);
}

}  // namespace

STEPLESS_CUDA_KERNEL(embed_wany_bany_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
