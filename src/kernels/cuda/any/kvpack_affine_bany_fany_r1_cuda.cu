// Quantizes pages of the KV cache: the codes, scales and biases that quantize() would make of each
// head of each position (contract.md, section 3). A thread to eight elements, 16 bytes or 32; as
// many threads to a group as that takes.
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

/// Blocks to a head of a page, of which each looks at some rows: few rows ask for a page.
constexpr int kThreads = 256, kParts = 8, kRowsOfBlock = 16;

/// A head of a page: (page_tokens, dim), keys or values.
struct Head {
  const uint8_t* plain;
  uint8_t *codes, *scales, *biases;
  int64_t from, to;  // the first element: of the plain pages, of the packed ones
};

__device__ void load_eight(const uint8_t* p, DType type, int64_t at, float (&w)[8]) {
  const int64_t step = bytes_of(type);
  uint4 words[2];
  words[0] = reinterpret_cast<const uint4*>(p + at * step)[0];
  if (type == DType::f32) words[1] = reinterpret_cast<const uint4*>(p + at * step)[1];
#pragma unroll
  for (int i = 0; i < 8; ++i) w[i] = load(words, type, i);
}

/// Eight codes from `at` on, of which the first takes the lowest bits.
__device__ void store_codes(uint8_t* codes, int bits, int64_t at, const unsigned (&q)[8]) {
  uint2 words = make_uint2(0, 0);
#pragma unroll
  for (int i = 0; i < 4; ++i) words.x |= q[i] << bits * i, words.y |= q[4 + i] << bits * i;
  if (bits == 8)
    *reinterpret_cast<uint2*>(codes + at) = words;
  else
    *reinterpret_cast<uint32_t*>(codes + at / 2) = words.x | words.y << 16;
}

/// Elements [at, at + 8) of a head. All threads of a group come here, side by side in a warp.
__device__ void pack_eight(const Head& head, const KvLayer& cache, int64_t at) {
  const int group = cache.packed.group_size, bits = cache.packed.bits, threads = group / 8;
  const unsigned mine = ((1u << threads) - 1) << (threadIdx.x % 32 / threads * threads);
  float w[8];
  load_eight(head.plain, cache.type, head.from + at, w);
  float low = w[0], high = w[0], finite = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    low = w[i] < low ? w[i] : low;
    high = w[i] > high ? w[i] : high;
    finite += w[i] * 0.0f;  // NaN when w is not finite, which low and high may pass over
  }
  for (int other = 1; other < threads; other *= 2) {
    const float lower = __shfl_xor_sync(mine, low, other);
    const float higher = __shfl_xor_sync(mine, high, other);
    low = lower < low ? lower : low;
    high = higher > high ? higher : high;
    finite += __shfl_xor_sync(mine, finite, other);
  }
  const float top = static_cast<float>((1 << bits) - 1);
  const bool side = fabsf(low) > fabsf(high);
  const float step = (high - low) / top;
  const float size = step > 1e-7f ? step : 1e-7f;
  float s = side ? size : -size, b = 0;
  const float edge = side ? low : high;
  const float q0 = rintf(edge / s);
  if (q0 != 0) s = edge / q0, b = edge;
  unsigned codes[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float q = rintf((w[i] - b) / s);
    q = q > 0.0f ? q : 0.0f;  // a NaN becomes 0, as its scale says the rest
    codes[i] = static_cast<unsigned>(q < top ? q : top);
  }
  store_codes(head.codes, bits, head.to + at, codes);
  if (at % group != 0) return;
  store(head.scales, cache.type, (head.to + at) / group, s + finite);
  store(head.biases, cache.type, (head.to + at) / group, b);
}

__device__ void pack_page(const KvLayer& cache, const SeqRow& seq, int64_t head, int part) {
  const int64_t from = (seq.pages[seq.pack] * cache.kv_heads + head) * cache.page_tokens;
  const int64_t to = (seq.packed[seq.pack] * cache.kv_heads + head) * cache.page_tokens;
  const PackedKv& p = cache.packed;
  const int64_t of_keys = cache.page_tokens * cache.k_dim;
  const int64_t all = of_keys + cache.page_tokens * cache.v_dim;
  for (int64_t at = (part * kThreads + threadIdx.x) * 8; at < all; at += kParts * kThreads * 8) {
    const bool key = at < of_keys;
    const int64_t dim = key ? cache.k_dim : cache.v_dim;
    pack_eight({key ? cache.k : cache.v, key ? p.k : p.v, key ? p.k_scales : p.v_scales,
                key ? p.k_biases : p.v_biases, from * dim, to * dim},
               cache, key ? at : at - of_keys);
  }
}

__global__ void __launch_bounds__(kThreads) kvpack(KvPackArgs args) {
  let_next_start();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRowsOfBlock;
  const int lane = threadIdx.x % 32;
  const bool asks = lane < kRowsOfBlock && first + lane < args.rows &&
                    read_early(&args.seq[first + lane].pack) >= 0;
  unsigned rows = __ballot_sync(~0u, asks);
  wait_for_inputs();
  for (; rows != 0; rows &= rows - 1)
    pack_page(args.cache, args.seq[first + __ffs(static_cast<int>(rows)) - 1], blockIdx.y / kParts,
              static_cast<int>(blockIdx.y % kParts));
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const KvPackArgs& args = *static_cast<const KvPackArgs*>(opaque);
  const dim3 blocks(grid_for((args.rows + kRowsOfBlock - 1) / kRowsOfBlock),
                    static_cast<unsigned>(args.cache.kv_heads * kParts));
  return launch_grid(kvpack, {blocks, kThreads}, context, args);
}

}  // namespace

STEPLESS_CUDA_KERNEL(kvpack_affine_bany_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
