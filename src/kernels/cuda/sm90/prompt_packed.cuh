// Packed pages of prompts on their way to the tensor cores, as f16.
//
// A key is scale * (code - 8) + (bias + 8 scale) in codes of 4 bits: the product is exact in f16,
// which has 11 bits, and what is the same for a group meets the sum of the group's queries, both in
// two numbers, as a last step of 16 of the scores' product: four groups at most. Of codes of 8
// bits, less 128, the product is two f16, which are exact together. Keys of a chunk are as much
// larger as lets the largest have all of f16's range, and so are the queries of a row; neither
// follows from who reads them. One f16 to a key was too little where scores are large: at 30 a
// result was wrong again by a tenth of its rounding.
//
// A value is fma(scale, code, bias), rounded once, 64 times as large, as plain ones are, and wild
// where f16 has it not.
#pragma once
#include "kernels/cuda/sm90/prompt_values.cuh"

namespace stepless::kernels::sm90 {

/// A visit is the first position of a chunk, and this where it is plain.
constexpr int kPlainVisit = 1;
template <int bits>
static __device__ __forceinline__ int chunk_of(int visit) {
  return bits == 0 ? visit : visit & ~kPlainVisit;
}

/// Products of keys and queries in f16 are multiplied back by this at least.
constexpr float kLeastScale = 0x1p-100f;

static __device__ PackedSpan span_of(const AttnArgs& a, const SeqRow& seq) {
  const auto tokens = static_cast<int>(a.cache.page_tokens);
  const auto begin = static_cast<int>(read_early(&seq.packed_begin));
  const auto end = static_cast<int>(read_early(&seq.packed_end));
  return begin < end ? PackedSpan{begin * tokens, end * tokens} : PackedSpan{0, 0};
}

/// What any and what all of some rows read packed.
struct SpanEdges {
  PackedSpan any, all;
  /// Of spans that `at` gives for [0, rows). The same for a warp, all of which comes here.
  template <class At>
  static __device__ SpanEdges gather(int rows, const At& at) {
    SpanEdges edges{{0x7fffffff, 0}, {0, 0x7fffffff}};
    for (int r = threadIdx.x % 32; r < rows; r += 32) {
      const PackedSpan span = at(r);
      if (span.from < span.to) edges.any.from = min(edges.any.from, span.from);
      edges.any.to = max(edges.any.to, span.to);
      edges.all.from = max(edges.all.from, span.from);
      edges.all.to = min(edges.all.to, span.to);
    }
    edges.any.from = __reduce_min_sync(~0u, edges.any.from);
    edges.any.to = __reduce_max_sync(~0u, edges.any.to);
    edges.all.from = __reduce_max_sync(~0u, edges.all.from);
    edges.all.to = __reduce_min_sync(~0u, edges.all.to);
    return edges;
  }
  static __device__ SpanEdges of(const PackedSpan* spans, int rows) {
    return gather(rows, [&](int r) { return spans[r]; });
  }
  /// Whether all rows read the visit's chunk in its form.
  __device__ bool has_all(int visit) const {
    const int chunk = chunk_of<1>(visit);
    return (visit & kPlainVisit) == 0 ? all.has(chunk) : !any.has(chunk);
  }
};

/// 2^x for x in [-126, 127].
static __device__ __forceinline__ float exact_power(int x) {
  return __uint_as_float(static_cast<uint32_t>(127 + x) << 23);
}
/// The power of 2 that makes a number, of which these are bits, at least 2^most and less than twice
/// that; 2^120 at most.
static __device__ __forceinline__ int power_to(uint32_t number, int most) {
  return min(most + 127 - static_cast<int>(number >> 23), 120);
}

/// Two f16 that are together what a number is.
static __device__ __forceinline__ uint32_t in_two(float x) {
  const uint32_t high = narrowed<DType::f16>(x, 0.0f);
  const uint32_t both = narrowed<DType::f16>(0.0f, x - widened<DType::f16>(high).x);
  return (high & 0xffffu) | both;
}

/// Queries in f16, each row's as much larger as lets its largest be below 2^8, and their sums over
/// groups, as operands: step k = 4 * group has the first and then the second part, twice. `back`:
/// what that divides by, of rows g and g + 8.
template <DType type, int kSteps>
static __device__ __forceinline__ void make_queries_f16(uint32_t (&queries)[kSteps][4],
                                                        uint32_t (&sums)[4], float (&back)[2],
                                                        int group_size) {
  constexpr int kRuns = kSteps / 2;  // of 32 elements
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t most = 0;
#pragma unroll
    for (int i = 0; i < 2 * kSteps; ++i) {
      const float2 two = widened<type>(queries[i / 2][i % 2 * 2 + half]);
      const uint32_t x = __float_as_uint(fabsf(two.x)), y = __float_as_uint(fabsf(two.y));
      if (x < 0x7f800000u) most = max(most, x);
      if (y < 0x7f800000u) most = max(most, y);
    }
    most = max(most, __shfl_xor_sync(~0u, most, 1));
    most = max(most, __shfl_xor_sync(~0u, most, 2));
    const int power = power_to(most, 7);
    const float up = exact_power(power);
    back[half] = exact_power(-power);
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
    for (int i = 0; i < 2 * kSteps; ++i) {
      uint32_t& pair = queries[i / 2][i % 2 * 2 + half];
      const float2 two = widened<type>(pair);
      pair = narrowed<DType::f16>(two.x * up, two.y * up);
      sum[i / 4] += two.x * up + two.y * up;
    }
#pragma unroll
    for (int run = 0; run < kRuns; ++run) {
      sum[run] += __shfl_xor_sync(~0u, sum[run], 1);
      sum[run] += __shfl_xor_sync(~0u, sum[run], 2);
    }
    if (group_size >= 64) sum[0] += sum[1], sum[1] = sum[2] + sum[3], sum[2] = sum[3] = 0.0f;
    if (group_size == 128) sum[0] += sum[1], sum[1] = 0.0f;
    sums[half] = in_two(t < 2 ? sum[0] : sum[1]);
    sums[2 + half] = in_two(t < 2 ? sum[2] : sum[3]);
  }
}

/// A chunk's keys or values in a packed cache.
struct PackedHalf {
  const uint8_t *codes, *scales, *biases;
  static __device__ PackedHalf keys(const PackedKv& kv) { return {kv.k, kv.k_scales, kv.k_biases}; }
  static __device__ PackedHalf values(const PackedKv& kv) {
    return {kv.v, kv.v_scales, kv.v_biases};
  }
};

/// Codes 2i and 2i + 1 of eight, which of 8 bits are in two words, plus `offset`: a number twice,
/// of which codes are the last bits.
template <int bits, uint32_t offset>
static __device__ __forceinline__ uint32_t offset_codes(uint2 words, int i) {
  if constexpr (bits == 4)
    return sm80::and_or(__byte_perm(words.x, words.x >> 4, 0x0400 + i * 0x0101), 0x000f000fu,
                        offset);
  return __byte_perm(i < 2 ? words.x : words.y, offset >> 24 | (offset >> 24) << 8,
                     0x4140 + i % 2 * 0x0202);
}
/// The same codes less 8, of 4 bits, or 128.
template <int bits>
static __device__ __forceinline__ uint32_t centered_codes(uint2 words, int i) {
  return F16::add2(offset_codes<bits, 0x64006400u>(words, i),
                   bits == 4 ? 0xe408e408u : 0xe480e480u);
}

/// Eight values. `factors`: value_factors().
template <int bits>
static __device__ __forceinline__ void decode_values(uint2 words, uint32_t factors,
                                                     uint32_t (&to)[4]) {
  const uint32_t scale = low_halves(factors, factors), bias = high_halves(factors, factors);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    // Codes / 2^bits: scales may be small.
    const uint32_t code = bits == 4
                              ? F16::add2(offset_codes<bits, 0x54005400u>(words, i), 0xd400d400u)
                              : F16::add2(offset_codes<bits, 0x44004400u>(words, i), 0xc400c400u);
    to[i] = F16::fma2(scale, code, bias);
  }
}
template <int bits>
static __device__ __forceinline__ uint32_t value_factors(float scale, float bias) {
  constexpr float kBy = kValueScale<DType::bf16>;
  return narrowed<DType::f16>(scale * (kBy * (1 << bits)), bias * kBy);
}

/// Wild values of 64 positions from `at` on and 64 elements from `element` on as operands, part 0
/// or 1 of them; zeros for all others, and for what `only` does not read. By a warpgroup.
template <int kDim, int bits>
static __device__ __forceinline__ void find_wild_packed(const PackedKv& kv, int place, int at,
                                                        int element, int part, const Reads* only,
                                                        uint32_t room) {
#pragma unroll 1
  for (int i = threadIdx.x % 128; i < kChunk * 8; i += 128) {
    uint32_t pairs[4] = {0, 0, 0, 0};
    if (only == nullptr || only->has(at + i / 8)) {
      const int64_t first = (int64_t{place} + i / 8) * kDim + element + i % 8 * 8;
      const int64_t group = first / kv.group_size;
      const float scale = load(kv.v_scales, DType::bf16, group);
      const float bias = load(kv.v_biases, DType::bf16, group);
      const auto* const words = reinterpret_cast<const uint32_t*>(kv.v + first * bits / 8);
      const uint2 codes = make_uint2(words[0], bits == 8 ? words[1] : 0);
      uint32_t plain[4];
      decode_values<bits>(codes, value_factors<bits>(scale, bias), plain);
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        if ((plain[e / 2] >> (e % 2 * 16) & 0x7c00u) != 0x7c00u) continue;
        const uint32_t word = bits == 4 || e < 4 ? codes.x : codes.y;
        const uint32_t code = word >> (e * bits % 32) & ((1u << bits) - 1);
        const float value = fmaf(scale, static_cast<float>(code), bias);
        uint32_t half = narrowed<DType::bf16>(value, 0.0f);
        if (part == 1) {
          const float left = value - low_bf16(half);
          half = left - left == 0.0f ? narrowed<DType::bf16>(left, 0.0f) : 0;
        }
        pairs[e / 2] |= half << (e % 2 * 16);
      }
    }
    store_shared16(room + i / 8 * 128 + ((i % 8) ^ (i / 8 % 8)) * 16,
                   make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]));
  }
}

}  // namespace stepless::kernels::sm90
