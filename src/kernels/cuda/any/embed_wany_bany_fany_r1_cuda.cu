// Rows of a table, packed or dense (its scales are null). Each value is rounded once to y's type.
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

__global__ void embed(EmbedArgs args) {
  const MatmulArgs& table = args.table;
  const int64_t row = blockIdx.x, id = args.ids[row];
  for (int64_t k = threadIdx.x; k < table.k; k += blockDim.x)
    store(table.y, table.y_type, row * table.y_stride + k,
          table.scales != nullptr ? packed_weight(table, id, k) : dense_weight(table, id, k));
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const EmbedArgs& args = *static_cast<const EmbedArgs*>(opaque);
  embed<<<grid_for(args.table.m), 256, 0, stream_of(context)>>>(args);
  return cudaGetLastError();
}

}  // namespace

STEPLESS_CUDA_KERNEL(embed_wany_bany_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
