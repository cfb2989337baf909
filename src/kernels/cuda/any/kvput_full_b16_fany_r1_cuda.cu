// Writes the keys and values of a step's rows into the pages of their sequences, in the cache's own
// type.
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

__device__ void put(const KvPutArgs& args, const void* from, int64_t stride, int64_t dim,
                    uint8_t* to) {
  const KvLayer& cache = args.cache;
  const int64_t row = blockIdx.x;
  const SeqRow& seq = args.seq[row];
  const int64_t page = seq.pages[seq.position / cache.page_tokens];
  const int64_t slot = seq.position % cache.page_tokens;
  for (int64_t i = threadIdx.x; i < cache.kv_heads * dim; i += blockDim.x) {
    const int64_t place = (page * cache.kv_heads + i / dim) * cache.page_tokens + slot;
    store(to, cache.type, place * dim + i % dim, load(from, args.type, row * stride + i));
  }
}

__global__ void kvput(KvPutArgs args) {
  put(args, args.k, args.k_stride, args.cache.k_dim, args.cache.k);
  put(args, args.v, args.v_stride, args.cache.v_dim, args.cache.v);
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const KvPutArgs& args = *static_cast<const KvPutArgs*>(opaque);
  kvput<<<grid_for(args.rows), 256, 0, stream_of(context)>>>(args);
  return cudaGetLastError();
}

}  // namespace

STEPLESS_CUDA_KERNEL(kvput_full_b16_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
