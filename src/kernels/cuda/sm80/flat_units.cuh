// What the kernels for m = 1..64 share: how packed rows travel, how codes become operands, and the
// one order of summation that makes a row's bits independent of m.
//
// Order mma_k512: k is cut into chains of 512 and parts of 1024. A chain starts at 0 and takes its
// units of 256 in order. A unit's scales and biases come first, as one more product (UnitSums):
// they meet the sums of x in their groups. Then its steps of 64, in order: chain = fma(s, sum of
// x·(16 + q), chain), where the sum is four chained mma from 0. A code q of 4 bits enters as the
// value 16 + q of x's type (other widths: WideBits); what that is too much, scales take back in the
// unit's first product. A part is chain 0 + chain 1; y is the sum of its parts in order.
#pragma once
#include "kernels/cuda/any/glu.cuh"
#include "kernels/cuda/sm80/number_types.cuh"

namespace stepless::kernels::sm80 {

constexpr int kUnitK = 256, kStepK = 64, kSteps = kUnitK / kStepK;
constexpr int kChainK = 512, kPartK = 1024, kPartUnits = kPartK / kUnitK;
constexpr int kTileRows = 16;
constexpr int kCodeOffset = 16;  // of 4 bits: a code q enters as 16 + q

// A unit in shared memory is 16 rows of 256 k: 128 bytes of codes, 16 for scales, 16 for biases.
// 160 bytes a row move the banks by 8 words, so that the lanes' 8-byte reads do not collide.
constexpr int kRowBytes = 160, kScalesAt = 128, kBiasesAt = 144;
constexpr int kUnitBytes = kTileRows * kRowBytes;

static __device__ __forceinline__ uint32_t load_shared4(uint32_t from) {
  uint32_t v;
  asm volatile("ld.shared.u32 %0,[%1];" : "=r"(v) : "r"(from));
  return v;
}
/// d += a · b; the first of a sum: d = a · b.
template <class Type = Bf16>
static __device__ __forceinline__ void add_product(float (&d)[4], bool first,
                                                   const uint32_t (&a)[4], uint32_t b0,
                                                   uint32_t b1) {
  if (first) d[0] = d[1] = d[2] = d[3] = 0;
  Type::multiply_add(d, d, a, b0, b1);
}

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

/// Scales of one row's unit, as stored; of a step, as float32.
template <int kGroup, class Type = Bf16>
struct RowScales {
  uint2 s;
  static __device__ __forceinline__ RowScales load(uint32_t row) {
    return {load_shared8(row + kScalesAt)};
  }
  __device__ __forceinline__ float scale(int step) const {
    const int group = step * kStepK / kGroup;
    const uint32_t pair = group < 2 ? s.x : s.y;
    return group % 2 == 0 ? Type::low(pair) : Type::high(pair);
  }
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
/// Codes i and i + 4 of a word as the values kOffset + q: 16, or what leaves them the last bits of
/// the mantissa. (With that one shift in four is spared; but errors are five times as large, since
/// what sums of x take back is.)
template <int kOffset, class Type>
static __device__ __forceinline__ uint32_t code_pair(uint32_t word, int i) {
  constexpr bool kIsLast = kOffset == Type::kLastBits;
  static_assert(kIsLast || kOffset == 16);
  constexpr int kPlace = kIsLast ? 0 : Type::kPlaceOf16;  // of a code in the mantissa
  const int shift = 4 * i - kPlace;
  return and_or(shift < 0 ? word << -shift : word >> shift, 0x000f000fu << kPlace,
                kIsLast ? Type::kLastBitsTwice : Type::k16Twice);
}
template <int kOffset, class Type>
static __device__ __forceinline__ void operand(const StepCodes& c, int j, uint32_t (&a)[4]) {
  const uint32_t low = j < 2 ? c.low.x : c.low.y, high = j < 2 ? c.high.x : c.high.y;
  const int i = j % 2 * 2;
  a[0] = code_pair<kOffset, Type>(low, i), a[1] = code_pair<kOffset, Type>(high, i);
  a[2] = code_pair<kOffset, Type>(low, i + 1), a[3] = code_pair<kOffset, Type>(high, i + 1);
}

/// 16 consecutive x of a column as B operands: codes j and j + 4 of a word share a register.
static __device__ __forceinline__ void permute_x(uint4 p, uint4 q, uint32_t (&b)[8]) {
  b[0] = __byte_perm(p.x, p.z, 0x5410), b[1] = __byte_perm(p.x, p.z, 0x7632);
  b[2] = __byte_perm(p.y, p.w, 0x5410), b[3] = __byte_perm(p.y, p.w, 0x7632);
  b[4] = __byte_perm(q.x, q.z, 0x5410), b[5] = __byte_perm(q.x, q.z, 0x7632);
  b[6] = __byte_perm(q.y, q.w, 0x5410), b[7] = __byte_perm(q.y, q.w, 0x7632);
}

/// The sum of a step's x in column g.
template <class Type>
static __device__ __forceinline__ float step_sum(const uint32_t (&b)[8], int lane) {
  const uint32_t ones[4] = {Type::kOnes, Type::kOnes, Type::kOnes, Type::kOnes};
  float sums[4] = {0, 0, 0, 0};  // in columns 2t, 2t + 1
#pragma unroll
  for (int j = 0; j < 4; ++j) Type::multiply_add(sums, sums, ones, b[2 * j], b[2 * j + 1]);
  const float even = __shfl_sync(~0u, sums[0], lane >> 3);
  const float odd = __shfl_sync(~0u, sums[1], lane >> 3);
  return (lane & 4) == 0 ? even : odd;
}

/// The same, or of x by the offsets of the codes that it meets: rows of A from 8 on are those.
template <class Codes>
static __device__ __forceinline__ float weighted_sum(const uint32_t (&b)[8], int lane,
                                                     bool by_offsets) {
  float sums[4] = {0, 0, 0, 0};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const uint32_t a[4] = {0x3F803F80u, Codes::offsets(2 * j), 0x3F803F80u,
                           Codes::offsets(2 * j + 1)};
    mma(sums, sums, a, b[2 * j], b[2 * j + 1]);
  }
  const bool gives = (lane & 4) != 0;  // what lanes of scales ask for
  const int from = (lane >> 3) + (by_offsets ? 4 : 0);
  const float even = __shfl_sync(~0u, gives ? sums[2] : sums[0], from);
  const float odd = __shfl_sync(~0u, gives ? sums[3] : sums[1], from);
  return (lane & 4) == 0 ? even : odd;
}

/// Numbers of f16 as the sums of two bf16 each, exactly: {first, second}.
static __device__ __forceinline__ uint2 split_halves(uint32_t pair) {
  const auto narrowed = [](uint32_t v) {
    return __byte_perm(__float_as_uint(F16::low(v)), __float_as_uint(F16::high(v)), 0x7632);
  };
  const uint32_t first = pair & 0xfff8fff8u;  // eight bits of a number
  return {narrowed(first), narrowed(F16::add2(pair, first ^ 0x80008000u))};
}

/// A unit's sums of x in 8 columns as the B of products whose A are a row's scales and biases. To
/// scales belongs -kOffset times a group's sum, to biases the sum itself, each split into three
/// bf16, which hold all of its bits and, unlike f16, any sum. Scales of bf16 enter as they are
/// stored: 4 groups x 2 x 3 are two products of 16, 2 groups are one. Those of f16 are split in
/// two, which a product takes side by side, each of the sums' words twice.
template <int kGroup, class Type = Bf16>
struct UnitSums {
  static constexpr int kWords = kGroup == 64 ? 3 : 2;  // the fourth would be zero
  static constexpr int kProducts = Type::kHalf ? kWords : kWords / 2 + kWords % 2;
  uint32_t b[kWords];

  template <int kOffset>
  static __device__ __forceinline__ UnitSums of(const uint32_t (*x)[8]) {
    const int lane = threadIdx.x & 31;
    float sum[kSteps];
#pragma unroll
    for (int i = 0; i < kSteps; ++i) sum[i] = step_sum<Type>(x[i], lane);
    return of_steps<kOffset>(sum, lane & 3);
  }
  /// Where codes have offsets of their own: a lane of scales has sums of x by their offsets.
  template <class Codes>
  static __device__ __forceinline__ UnitSums weighted(const uint32_t (*x)[8]) {
    const int lane = threadIdx.x & 31, t = lane & 3;
    float sum[kSteps];
#pragma unroll
    for (int i = 0; i < kSteps; ++i) sum[i] = weighted_sum<Codes>(x[i], lane, is_scale(t));
    return of_steps<1>(sum, t);
  }
  template <int kOffset>
  static __device__ __forceinline__ UnitSums of_steps(const float (&sum)[kSteps], int t) {
    float even, odd;
    if constexpr (kGroup == 64)
      even = t % 2 == 0 ? sum[0] : sum[2], odd = t % 2 == 0 ? sum[1] : sum[3];
    else
      even = sum[0] + sum[1], odd = sum[2] + sum[3];
    return split<kOffset>(even, odd, t);
  }
  /// The words of lane t, of sums of two groups that lie side by side.
  template <int kOffset>
  static __device__ __forceinline__ UnitSums split(float even, float odd, int t) {
    if (is_scale(t)) even *= -kOffset, odd *= -kOffset;
    uint32_t pairs[3];
#pragma unroll
    for (uint32_t& pair : pairs) {
      pair = Bf16::pair(even, odd);
      even -= low_bf16(pair), odd -= high_bf16(pair);
    }
    if constexpr (kGroup == 64)
      return {{pairs[0], pairs[1], pairs[2]}};
    else
      return {{t < 2 ? pairs[0] : pairs[1], t < 2 ? pairs[2] : 0u}};
  }
  static __device__ __forceinline__ bool is_scale(int t) {
    return kGroup == 64 ? t < 2 : t % 2 == 0;
  }
  /// Where a row has the lane's word of A.
  static __device__ __forceinline__ uint32_t word_at(int t, int scales_at, int biases_at) {
    return static_cast<uint32_t>((is_scale(t) ? scales_at : biases_at) +
                                 (kGroup == 64 ? t % 2 * 4 : 0));
  }
  /// By way of shared memory, 16 bytes a lane.
  __device__ __forceinline__ void keep(uint32_t to) const {
    store_shared16(to, make_uint4(b[0], b[1], b[kWords - 1], 0));
  }
  static __device__ __forceinline__ UnitSums kept(uint32_t at) {
    if constexpr (kGroup == 64) {
      const uint4 v = load_shared16(at);
      return {{v.x, v.y, v.z}};
    } else {
      const uint2 v = load_shared8(at);
      return {{v.x, v.y}};
    }
  }
  /// A of all products; the words of rows g and g + 8.
  static __device__ __forceinline__ void to_operand(uint32_t low, uint32_t high, uint32_t (&a)[4]) {
    if constexpr (Type::kHalf) {
      const uint2 of_low = split_halves(low), of_high = split_halves(high);
      a[0] = of_low.x, a[1] = of_high.x, a[2] = of_low.y, a[3] = of_high.y;
    } else {
      a[0] = a[2] = low, a[1] = a[3] = high;
    }
  }
  /// Adds the products to a 16 x 8 tile.
  __device__ __forceinline__ void add_to(float (&chain)[4], uint32_t low, uint32_t high) const {
    uint32_t a[4];
    to_operand(low, high, a);
    if constexpr (Type::kHalf) {
#pragma unroll
      for (const uint32_t word : b) mma(chain, chain, a, word, word);
    } else {
      mma(chain, chain, a, b[0], b[1]);
      if constexpr (kGroup == 64) mma(chain, chain, a, b[2], 0);
    }
  }
};

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

/// One step of a 16 x 8 tile, in the order above; the scales of rows g and g + 8.
static __device__ __forceinline__ void add_step(float (&chain)[4], const float (&dot)[4], float low,
                                                float high) {
  chain[0] = __fmaf_rn(low, dot[0], chain[0]);
  chain[1] = __fmaf_rn(low, dot[1], chain[1]);
  chain[2] = __fmaf_rn(high, dot[2], chain[2]);
  chain[3] = __fmaf_rn(high, dot[3], chain[3]);
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

/// The gate of both columns: y of them. SiLU's overlap (one warp does it for a block: a layer takes
/// 40.6 us instead of 41.8 at eight rows), others come one after the other, for less code.
static __device__ __forceinline__ float2 gated_two(const FlatWeights& w, const float (&v)[4]) {
  const GluArgs& glu = w.glu;
  if (glu.activation == Activation::silu && glu.limit == 0.0f && glu.up_offset == 0.0f) {
    const float gate[2] = {rounded(v[0], w.y_type), rounded(v[1], w.y_type)};
    float y[2] = {rounded(v[2], w.y_type), rounded(v[3], w.y_type)};
    gate_as<Activation::silu>(glu, gate, y);
    return make_float2(y[0], y[1]);
  }
  float2 y{};
  float gate = v[0], up = v[2];
#pragma unroll 1
  for (int i = 0; i < 2; ++i, gate = v[1], up = v[3])
    y.x = y.y, y.y = gated(glu, rounded(gate, w.y_type), rounded(up, w.y_type));
  return y;
}

}  // namespace stepless::kernels::sm80
