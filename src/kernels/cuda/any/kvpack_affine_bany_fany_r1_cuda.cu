// Quantizes pages of the KV cache: the codes, scales and biases that quantize() would make of each
// head of each position (contract.md, section 3). A thread to a group.
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

/// A head of a page: (page_tokens, dim), keys or values.
struct Head {
  const uint8_t* plain;
  uint8_t *codes, *scales, *biases;
  int64_t from, to;  // the first element: of the plain pages, of the packed ones
};

__device__ void pack_group(const Head& head, const KvLayer& cache, int64_t g) {
  const int group = cache.packed.group_size, bits = cache.packed.bits;
  const int64_t first = head.from + g * group;
  const float top = static_cast<float>((1 << bits) - 1);
  float low = load(head.plain, cache.type, first), high = low, finite = 0;
  for (int i = 0; i < group; ++i) {
    const float w = load(head.plain, cache.type, first + i);
    low = w < low ? w : low;
    high = w > high ? w : high;
    finite += w * 0.0f;  // NaN when w is not finite, which low and high may pass over
  }
  const bool side = fabsf(low) > fabsf(high);
  const float step = (high - low) / top;
  const float size = step > 1e-7f ? step : 1e-7f;
  float s = side ? size : -size, b = 0;
  const float edge = side ? low : high;
  const float q0 = rintf(edge / s);
  if (q0 != 0) s = edge / q0, b = edge;
  uint8_t* const codes = head.codes + (head.to + g * group) * bits / 8;
  for (int i = 0; i < group; ++i) {
    float q = rintf((load(head.plain, cache.type, first + i) - b) / s);
    q = q > 0.0f ? q : 0.0f;  // a NaN becomes 0, as its scale says the rest
    const auto one = static_cast<unsigned>(q < top ? q : top);
    if (bits == 8)
      codes[i] = static_cast<uint8_t>(one);
    else if (i % 2 == 0)
      codes[i / 2] = static_cast<uint8_t>(one);
    else
      codes[i / 2] = static_cast<uint8_t>(codes[i / 2] | one << 4);
  }
  const int64_t at = head.to / group + g;
  store(head.scales, cache.type, at, s + finite);
  store(head.biases, cache.type, at, b);
}

__global__ void kvpack(KvPackArgs args) {
  const KvLayer& cache = args.cache;
  begin_early();
  const SeqRow& seq = args.seq[blockIdx.x / cache.kv_heads];
  if (seq.pack < 0) return;
  const int64_t head = blockIdx.x % cache.kv_heads;
  const int64_t from = (seq.pages[seq.pack] * cache.kv_heads + head) * cache.page_tokens;
  const int64_t to = (seq.packed[seq.pack] * cache.kv_heads + head) * cache.page_tokens;
  const PackedKv& p = cache.packed;
  const Head keys = {cache.k, p.k, p.k_scales, p.k_biases, from * cache.k_dim, to * cache.k_dim};
  const Head values = {cache.v, p.v, p.v_scales, p.v_biases, from * cache.v_dim, to * cache.v_dim};
  for (int64_t g = threadIdx.x; g < cache.page_tokens * cache.k_dim / p.group_size; g += blockDim.x)
    pack_group(keys, cache, g);
  for (int64_t g = threadIdx.x; g < cache.page_tokens * cache.v_dim / p.group_size; g += blockDim.x)
    pack_group(values, cache, g);
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const KvPackArgs& args = *static_cast<const KvPackArgs*>(opaque);
  return launch_grid(kvpack, {grid_for(args.rows * args.cache.kv_heads), 128}, context, args);
}

}  // namespace

STEPLESS_CUDA_KERNEL(kvpack_affine_bany_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
