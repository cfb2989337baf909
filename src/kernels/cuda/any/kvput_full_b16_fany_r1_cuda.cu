// Writes the keys and values of a step's rows into the pages of their sequences, in the cache's own
// type; where asked, after turning queries and keys by their rows' angles.
#include "kernels/cuda/any/eights.cuh"
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/rope.cuh"

namespace stepless::kernels {
namespace {

constexpr int kThreads = 128;

/// A row's place in a cache of heads of `dim` elements.
struct Place {
  int64_t first, per_head;
  int dim;
  __device__ int64_t at(int64_t element) const {
    const auto i = static_cast<int>(element);
    return first + i / dim * per_head + i % dim;
  }
};

/// Rows stand at positions below 2^31, as attention has them: 64-bit division would take longer
/// than all the rest.
__device__ Place place_of(const KvPutArgs& args, int64_t row, int64_t dim) {
  const KvLayer& cache = args.cache;
  const SeqRow seq = read_early(&args.seq[row]);
  const auto position = static_cast<unsigned>(seq.position),
             tokens = static_cast<unsigned>(cache.page_tokens);
  const int64_t page = read_early(&seq.pages[position / tokens]);
  const int64_t slot = position % tokens;
  return {(page * cache.kv_heads * cache.page_tokens + slot) * dim, cache.page_tokens * dim,
          static_cast<int>(dim)};
}

__device__ void put_one(const KvPutArgs& args, const void* from, int64_t stride, const Place& to,
                        uint8_t* cache, int64_t row, int i) {
  store(cache, args.cache.type, to.at(i), load(from, args.type, row * stride + i));
}

__global__ void kvput(KvPutArgs args) {
  begin_early();
  const int64_t row = blockIdx.x;
  const Place k = place_of(args, row, args.cache.k_dim), v = place_of(args, row, args.cache.v_dim);
  const int keys = static_cast<int>(args.cache.kv_heads) * k.dim;
  const int values = static_cast<int>(args.cache.kv_heads) * v.dim;
  for (int i = blockIdx.y * kThreads + threadIdx.x; i < keys + values; i += gridDim.y * kThreads) {
    if (i < keys)
      put_one(args, args.k, args.k_stride, k, args.cache.k, row, i);
    else
      put_one(args, args.v, args.v_stride, v, args.cache.v, row, i - keys);
  }
}

/// Turned queries go to q.y, turned keys to the cache, rounded as if k.y had kept them.
struct TurnedPut {
  RopeArgs q, k;
  KvPutArgs put;
};

__global__ void kvput_turned(TurnedPut args) {
  const KvPutArgs& put = args.put;
  let_next_start();
  const int64_t row = blockIdx.x;
  // Rows and their pages are inputs of the whole step: no kernel of it writes them.
  const Place k = place_of(put, row, put.cache.k_dim), v = place_of(put, row, put.cache.v_dim);
  const int queries = static_cast<int>(rope_units(args.q));
  const int keys = queries + static_cast<int>(rope_units(args.k));
  const int all = keys + static_cast<int>(put.cache.kv_heads) * v.dim;
  wait_for_inputs();
  for (int i = blockIdx.y * kThreads + threadIdx.x; i < all; i += gridDim.y * kThreads) {
    if (i < queries)
      turn_unit(args.q, row, i, [&](int64_t at, float value) {
        store(args.q.y, args.q.type, row * args.q.y_stride + at, value);
      });
    else if (i < keys)
      turn_unit(args.k, row, i - queries, [&](int64_t at, float value) {
        store(put.cache.k, put.cache.type, k.at(at), rounded_to(args.k.type, value));
      });
    else
      put_one(put, put.v, put.v_stride, v, put.cache.v, row, i - keys);
  }
}

/// Eight pairs of a run of rows' heads, in halves that lie `pairs` apart: to is where the head
/// begins.
template <DType type>
__device__ void turn_eight(const RopeArgs& args, int64_t row, int64_t head, int i, void* y,
                           int64_t to) {
  const float* const cosines = args.angles + (row * 2 * args.pairs + i);
  const int64_t x = row * args.x_stride + head * args.head_dim + i;
  float a[8], b[8], cosine[8], sine[8], first[8], second[8];
  load_eight<type>(args.x, x, a), load_eight<type>(args.x, x + args.pairs, b);
#pragma unroll
  for (int j = 0; j < 8; j += 4) {
    const float4 c = *reinterpret_cast<const float4*>(cosines + j);
    const float4 s = *reinterpret_cast<const float4*>(cosines + args.pairs + j);
    cosine[j] = c.x, cosine[j + 1] = c.y, cosine[j + 2] = c.z, cosine[j + 3] = c.w;
    sine[j] = s.x, sine[j + 1] = s.y, sine[j + 2] = s.z, sine[j + 3] = s.w;
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    first[j] = a[j] * cosine[j] - b[j] * sine[j];
    second[j] = a[j] * sine[j] + b[j] * cosine[j];
  }
  store_eight(y, type, to + i, first), store_eight(y, type, to + i + args.pairs, second);
}

/// kvput_turned() of rows that lie in eights, with its bits.
template <DType type>
__global__ void kvput_turned_eights(TurnedPut args) {
  const KvPutArgs& put = args.put;
  let_next_start();
  const int64_t row = blockIdx.x;
  const Place k = place_of(put, row, put.cache.k_dim), v = place_of(put, row, put.cache.v_dim);
  const int each = static_cast<int>(args.q.pairs) / 8,
            queries = static_cast<int>(args.q.heads) * each;
  const int keys = queries + static_cast<int>(args.k.heads) * each;
  const int all = keys + static_cast<int>(put.cache.kv_heads) * v.dim / 8;
  wait_for_inputs();
  for (int i = blockIdx.y * kThreads + threadIdx.x; i < all; i += gridDim.y * kThreads) {
    if (i < queries) {
      const int head = i / each;
      turn_eight<type>(args.q, row, head, i % each * 8, args.q.y,
                       row * args.q.y_stride + head * args.q.head_dim);
    } else if (i < keys) {
      const int head = (i - queries) / each;
      turn_eight<type>(args.k, row, head, (i - queries) % each * 8, put.cache.k,
                       k.first + head * k.per_head);
    } else {
      const int at = (i - keys) * 8;
      *reinterpret_cast<uint4*>(reinterpret_cast<uint16_t*>(put.cache.v) + v.at(at)) =
          *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(put.v) + row * put.v_stride +
                                          at);
    }
  }
}

bool lies_in_eights(const TurnedPut& args) {
  const auto &q = args.q, &k = args.k;
  const auto& put = args.put;
  const DType type = put.cache.type;
  return q.type == type && k.type == type && put.type == type && !q.interleaved && !k.interleaved &&
         q.pairs == k.pairs && q.pairs % 8 == 0 && q.head_dim == 2 * q.pairs &&
         k.head_dim == q.head_dim && put.cache.k_dim == q.head_dim && put.cache.v_dim % 8 == 0 &&
         k.heads == put.cache.kv_heads && lies_in_eights(q.x, q.x_stride, type) &&
         lies_in_eights(q.y, q.y_stride, type) && lies_in_eights(k.x, k.x_stride, type) &&
         lies_in_eights(put.v, put.v_stride, type) && lies_in_eights(put.cache.k, 0, type) &&
         lies_in_eights(put.cache.v, 0, type) && reinterpret_cast<uint64_t>(q.angles) % 16 == 0 &&
         q.angles == k.angles;
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const KvPutArgs& args = *static_cast<const KvPutArgs*>(opaque);
  const int64_t units = args.cache.kv_heads * (args.cache.k_dim + args.cache.v_dim);
  const dim3 blocks(grid_for(args.rows), blocks_for_units(units, kThreads));
  return launch_grid(kvput, {blocks, kThreads}, context, args);
}

int32_t launch_turned(const RopeArgs& q, const RopeArgs& k, const KvPutArgs& put,
                      const CudaContext& context) {
  const TurnedPut args{q, k, put};
  const int64_t units = rope_units(q) + rope_units(k) + put.cache.kv_heads * put.cache.v_dim;
  const bool eights = lies_in_eights(args);
  const dim3 blocks(grid_for(put.rows), blocks_for_units(eights ? units / 8 : units, kThreads));
  const auto kernel = !eights                         ? kvput_turned
                      : put.cache.type == DType::bf16 ? kvput_turned_eights<DType::bf16>
                                                      : kvput_turned_eights<DType::f16>;
  return launch_grid(kernel, {blocks, kThreads}, context, args);
}

}  // namespace

STEPLESS_CUDA_KERNEL(kvput_full_b16_fany_r1_cuda) = {
    .launch = launch, .workspace_bytes = nullptr, .joined = {.put_turned = launch_turned}};

}  // namespace stepless::kernels
