// Quantizes pages of the KV cache: the codes, scales and biases that quantize() would make of each
// head of each position (format/quantize.cc; a test compares them byte for byte).
#include <math.h>

#include "kernels/cpu/any/convert.hpp"

namespace stepless::kernels {

static constexpr int64_t kMostGroup = 128;

/// Nearest even for |x| < 2^22.
static inline float round_small(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

/// One group of w: its codes, one per byte, and its scale and bias in float32.
static void quantize_group(const float* w, int64_t group, float top, uint8_t* codes, float* scale,
                           float* bias) {
  float low = w[0], high = w[0], finite = 0;
  for (int64_t i = 0; i < group; ++i) {
    low = w[i] < low ? w[i] : low;
    high = w[i] > high ? w[i] : high;
    finite += w[i] * 0.0f;  // NaN when w[i] is not finite, which low and high may pass over
  }
  const bool side = __builtin_fabsf(low) > __builtin_fabsf(high);
  const float step = (high - low) / top;
  const float size = step > 1e-7f ? step : 1e-7f;
  float s = side ? size : -size, b = 0;
  const float edge = side ? low : high;
  const float q0 = rintf(edge / s);
  if (q0 != 0) s = edge / q0, b = edge;
  for (int64_t i = 0; i < group; ++i) {
    // Clamped first, which changes no result, so that the rounding trick holds.
    float q = (w[i] - b) / s;
    q = q > 0.0f ? q : 0.0f;
    q = q < top ? q : top;
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>(round_small(q)));
  }
  *scale = s + finite;
  *bias = b;
}

/// One head of a page: (page_tokens, dim) of `type` into codes, scales and biases.
struct Head {
  const uint8_t* plain;
  uint8_t *codes, *scales, *biases;
  int64_t tokens, dim;
};

static void pack_head(const Head& head, const KvLayer& cache) {
  const int64_t group = cache.packed.group_size, bits = cache.packed.bits;
  const float top = static_cast<float>((1 << bits) - 1);
  alignas(64) float w[kMostGroup];
  alignas(64) uint8_t codes[kMostGroup];
  for (int64_t g = 0; g < head.tokens * head.dim / group; ++g) {
    widen(element(head.plain, cache.type, g * group), cache.type, group, w);
    float scale, bias;
    quantize_group(w, group, top, codes, &scale, &bias);
    narrow(&scale, cache.type, 1, element(head.scales, cache.type, g));
    narrow(&bias, cache.type, 1, element(head.biases, cache.type, g));
    uint8_t* const to = head.codes + g * group * bits / 8;
    if (bits == 8)
      memcpy(to, codes, static_cast<size_t>(group));
    else
      for (int64_t i = 0; i < group / 2; ++i)
        to[i] = static_cast<uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
  }
}

static void run(const void* opaque, Slice units) {
  const KvPackArgs& args = *static_cast<const KvPackArgs*>(opaque);
  const KvLayer& cache = args.cache;
  const PackedKv& packed = cache.packed;
  const int64_t tokens = cache.page_tokens, bits = packed.bits, group = packed.group_size;
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const SeqRow& seq = args.seq[unit / cache.kv_heads];
    if (seq.pack < 0) continue;
    const int64_t head = unit % cache.kv_heads;
    const int64_t from = (seq.pages[seq.pack] * cache.kv_heads + head) * tokens;
    const int64_t to = (seq.packed[seq.pack] * cache.kv_heads + head) * tokens;
    const int64_t k = cache.k_dim, v = cache.v_dim;
    pack_head({element(cache.k, cache.type, from * k), packed.k + to * k * bits / 8,
               element(packed.k_scales, cache.type, to * k / group),
               element(packed.k_biases, cache.type, to * k / group), tokens, k},
              cache);
    pack_head({element(cache.v, cache.type, from * v), packed.v + to * v * bits / 8,
               element(packed.v_scales, cache.type, to * v / group),
               element(packed.v_biases, cache.type, to * v / group), tokens, v},
              cache);
  }
}

STEPLESS_KERNEL(kvpack_affine_bany_fany_r1_cpu) = {nullptr, run, nullptr};

}  // namespace stepless::kernels
