// What the kernels for m = 1..64 share: how packed rows travel, how codes become operands, and the
// one order of summation that makes a row's bits independent of m.
//
// Order mma_k512: k is cut into chains of 512 and parts of 1024. A chain starts at 0 and takes its
// steps of 64 in order: chain = fma(b, sum of x, chain), then chain = fma(s, sum of x·q, chain).
// The sum of x·q is four chained mma, started at -128 times the sum of x because a code q enters as
// the bf16 value 128 + q. A part is chain 0 + chain 1; y is the sum of its parts in order.
#pragma once
#include "kernels/cuda/any/glu.cuh"
#include "kernels/cuda/sm80/mma.cuh"

namespace stepless::kernels::sm80 {

constexpr int kUnitK = 256, kStepK = 64, kSteps = kUnitK / kStepK;
constexpr int kChainK = 512, kPartK = 1024;
constexpr int kTileRows = 16;

// A unit in shared memory is 16 rows of 256 k: 128 bytes of codes, 16 for scales, 16 for biases.
// 160 bytes a row move the banks by 8 words, so that the lanes' 8-byte reads do not collide.
constexpr int kRowBytes = 160, kScalesAt = 128, kBiasesAt = 144;
constexpr int kUnitBytes = kTileRows * kRowBytes;

struct FlatWeight {
  const uint8_t* codes;
  const uint8_t* scales;
  const uint8_t* biases;
  int n, k;
};

/// Weights that read one x, multiplied in one launch: their tiles of rows stand in one line.
struct FlatWeights {
  FlatWeight one[kMostTogether];
  void* y[kMostTogether];
  int64_t y_stride[kMostTogether];
  int end[kMostTogether];  // of each weight's tiles in the line
  int k;
  DType y_type;
  /// Two weights, gate and up, tile by tile in turns: what is stored is glu's y alone.
  bool gated;
  GluArgs glu;
};

struct TilePlace {
  int weight, tile;
};
static __device__ __forceinline__ TilePlace find_tile(const FlatWeights& w, int tile) {
  if (w.gated) return {tile & 1, tile >> 1};
  int i = 0, before = 0;
  while (tile >= w.end[i]) before = w.end[i++];
  return {i, tile - before};
}

/// Starts the copies of a tile's unit u. Rows beyond n are the last one again: what they give is
/// not stored.
template <int kGroup>
static __device__ __forceinline__ void copy_unit(const FlatWeight& w, int tile, int u, uint32_t to,
                                                 int lane) {
  constexpr int kScaleBytes = kUnitK / kGroup * 2;
  const int64_t row_bytes = w.k / 2;
  const int row_scales = w.k / kGroup * 2, row0 = tile * kTileRows, r = lane >> 3;
  const uint8_t* from = w.codes + u * (kUnitK / 2) + (lane & 7) * 16;
  const uint32_t at = to + static_cast<uint32_t>(r * kRowBytes + (lane & 7) * 16);
  int scale_row = row0 + (lane & 15);
  if (row0 + kTileRows <= w.n) {
    from += (row0 + r) * row_bytes;
#pragma unroll
    for (int j = 0; j < 4; ++j) copy_async<16>(at + j * 4 * kRowBytes, from + j * 4 * row_bytes);
  } else {
#pragma unroll
    for (int j = 0; j < 4; ++j)
      copy_async<16>(at + j * 4 * kRowBytes, from + min(row0 + r + j * 4, w.n - 1) * row_bytes);
    scale_row = min(scale_row, w.n - 1);
  }
  copy_async<kScaleBytes>(
      to + static_cast<uint32_t>((lane & 15) * kRowBytes + (lane < 16 ? kScalesAt : kBiasesAt)),
      (lane < 16 ? w.scales : w.biases) + static_cast<int64_t>(scale_row) * row_scales +
          u * kScaleBytes);
}

/// Scales and biases of one row's unit, as stored; of a step, as float32. Biases come times -1/128,
/// which the offset in the sums of x undoes.
template <int kGroup>
struct RowScales {
  uint2 s, b;
  static __device__ __forceinline__ RowScales load(uint32_t row) {
    return {load_shared8(row + kScalesAt), load_shared8(row + kBiasesAt)};
  }
  static __device__ __forceinline__ float pick(uint2 v, int step) {
    const int group = step * kStepK / kGroup;
    const uint32_t pair = group < 2 ? v.x : v.y;
    return group % 2 == 0 ? low_bf16(pair) : high_bf16(pair);
  }
  __device__ __forceinline__ float scale(int step) const { return pick(s, step); }
  __device__ __forceinline__ float bias(int step) const { return pick(b, step) * -0.0078125f; }
};

/// The codes of one step of 64: lane (g, t) holds 16 consecutive ones of rows g and g + 8, which
/// are the four A operands when x is permuted alike.
struct StepCodes {
  uint2 low, high;
};
static __device__ __forceinline__ StepCodes load_codes(uint32_t row, int step, int t) {
  const uint32_t at = row + static_cast<uint32_t>(step * (kStepK / 2) + t * 8);
  return {load_shared8(at), load_shared8(at + 8 * kRowBytes)};
}
static __device__ __forceinline__ void operand(const StepCodes& c, int j, uint32_t (&a)[4]) {
  const uint32_t low = j < 2 ? c.low.x : c.low.y, high = j < 2 ? c.high.x : c.high.y;
  const int shift = j % 2 * 8;
  a[0] = and_or(low >> shift, 0x000f000fu, 0x43004300u);
  a[1] = and_or(high >> shift, 0x000f000fu, 0x43004300u);
  a[2] = and_or(low >> (shift + 4), 0x000f000fu, 0x43004300u);
  a[3] = and_or(high >> (shift + 4), 0x000f000fu, 0x43004300u);
}

/// 16 consecutive x of a column as B operands: codes j and j + 4 of a word share a register.
static __device__ __forceinline__ void permute_x(uint4 p, uint4 q, uint32_t (&b)[8]) {
  b[0] = __byte_perm(p.x, p.z, 0x5410), b[1] = __byte_perm(p.x, p.z, 0x7632);
  b[2] = __byte_perm(p.y, p.w, 0x5410), b[3] = __byte_perm(p.y, p.w, 0x7632);
  b[4] = __byte_perm(q.x, q.z, 0x5410), b[5] = __byte_perm(q.x, q.z, 0x7632);
  b[6] = __byte_perm(q.y, q.w, 0x5410), b[7] = __byte_perm(q.y, q.w, 0x7632);
}

/// -128 times the sum of a step's x, where an accumulator of columns 2t, 2t + 1 wants it.
static __device__ __forceinline__ void offset_sums(const uint32_t (&b)[8], float (&sums)[4]) {
  const uint32_t ones[4] = {0xC300C300u, 0xC300C300u, 0xC300C300u, 0xC300C300u};
  sums[0] = sums[1] = sums[2] = sums[3] = 0;
#pragma unroll
  for (int j = 0; j < 4; ++j) mma(sums, sums, ones, b[2 * j], b[2 * j + 1]);
}

static __device__ __forceinline__ void store_sums(uint32_t to, const float (&sums)[4]) {
  asm volatile("st.shared.v4.f32 [%0],{%1,%2,%3,%4};" ::"r"(to), "f"(sums[0]), "f"(sums[1]),
               "f"(sums[2]), "f"(sums[3])
               : "memory");
}
static __device__ __forceinline__ void load_sums(uint32_t from, float (&sums)[4]) {
  const uint4 v = load_shared16(from);
  sums[0] = __uint_as_float(v.x), sums[1] = __uint_as_float(v.y);
  sums[2] = __uint_as_float(v.z), sums[3] = __uint_as_float(v.w);
}

/// The scales of rows g and g + 8 in one step.
struct StepScales {
  float s0, s1, b0, b1;
};
template <int kGroup>
static __device__ __forceinline__ StepScales step_scales(const RowScales<kGroup>& low,
                                                         const RowScales<kGroup>& high, int step) {
  return {low.scale(step), high.scale(step), low.bias(step), high.bias(step)};
}

/// One step of a 16 x 8 tile, in the order above.
static __device__ __forceinline__ void add_step(float (&chain)[4], const float (&dot)[4],
                                                const float (&sums)[4], const StepScales& scales) {
  chain[0] = __fmaf_rn(scales.b0, sums[0], chain[0]);
  chain[1] = __fmaf_rn(scales.b0, sums[1], chain[1]);
  chain[2] = __fmaf_rn(scales.b1, sums[0], chain[2]);
  chain[3] = __fmaf_rn(scales.b1, sums[1], chain[3]);
  chain[0] = __fmaf_rn(scales.s0, dot[0], chain[0]);
  chain[1] = __fmaf_rn(scales.s0, dot[1], chain[1]);
  chain[2] = __fmaf_rn(scales.s1, dot[2], chain[2]);
  chain[3] = __fmaf_rn(scales.s1, dot[3], chain[3]);
}

static __device__ __forceinline__ float rounded(float value, DType type) {
  if (type == DType::bf16) return __bfloat162float(__float2bfloat16_rn(value));
  return type == DType::f16 ? __half2float(__float2half_rn(value)) : value;
}

static __device__ __forceinline__ void store(void* y, DType type, int64_t at, float value) {
  if (type == DType::bf16)
    static_cast<__nv_bfloat16*>(y)[at] = __float2bfloat16_rn(value);
  else if (type == DType::f16)
    static_cast<__half*>(y)[at] = __float2half_rn(value);
  else
    static_cast<float*>(y)[at] = value;
}

/// Gate and up are rounded as if they had been stored: the bits are those of two operations.
static __device__ __forceinline__ void store_gated(const FlatWeights& w, int column, int out,
                                                   float gate, float up) {
  const float y = gated(w.glu, rounded(gate, w.y_type), rounded(up, w.y_type));
  store(w.glu.y, w.y_type, column * w.glu.y_stride + out, y);
}

}  // namespace stepless::kernels::sm80
