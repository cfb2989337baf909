// Tensor-core products of every format beside 4-bit affine weights of bf16: number types, what a
// format says of itself, and the one order of summation that makes a row's bits independent of m.
//
// Order mma_units: k is cut into units of 256, two to a chain and four to a part; the last unit may
// be shorter, a multiple of 64. A chain starts at 0 and takes its dots in order. A dot is a group
// of 16 or 32, or 32 k of a larger one (64 k of 4 and 8 bits): chained mma that start at 0, since
// codes enter as the numbers they are. Affine: chain = fma(bias, sum of x, chain). Then chain =
// fma(scale, dot, chain); codes of five bits or more under f16 scales round it to odd where y is
// not float32, so that a weight is rounded once. A part is chain 0 + chain 1; y is the sum of its
// parts in order.
#pragma once
#include "kernels/cuda/sm80/flat_launch.cuh"
#include "kernels/cuda/sm80/number_types.cuh"

namespace stepless::kernels::sm80 {

/// What the kernels want to know of a call beside its weights.
struct UnitCall {
  const uint8_t* x;
  int64_t x_row_bytes, w_row_bytes;
  int m, group;
  int row_scales, unit_scales;  // bytes of a row's and of a unit's scales
  bool whole;                   // k is a multiple of a unit's
  float tensor_scale[kMostTogether];
  DType scale_type;
};

/// fma(a, b, c); `odd`: of the two neighbours of a number that float32 lacks the odd one.
template <bool kMayBeOdd>
static __device__ __forceinline__ float fma_to(float a, float b, float c, bool odd) {
  if constexpr (kMayBeOdd) {
    if (odd) {
      const float low = __fmaf_rd(a, b, c), high = __fmaf_ru(a, b, c);
      return (__float_as_uint(low) & 1) != 0 ? low : high;
    }
  }
  return __fmaf_rn(a, b, c);
}

/// Sums of a dot's x in columns 2t, 2t + 1; scale and bias of rows g, g + 8 in one dot.
struct DotSums {
  float even, odd;
};
struct DotScales {
  float s0, s1, b0, b1;
};

/// One dot of a 16 x 8 tile, in the order above.
template <class Format>
static __device__ __forceinline__ void add_dot(float (&chain)[4], const float (&dot)[4],
                                               const DotSums& sums, const DotScales& scales,
                                               bool odd) {
  constexpr bool kMayBeOdd = Format::kRoundsToOdd;
  if constexpr (Format::kAffine) {
    chain[0] = __fmaf_rn(scales.b0, sums.even, chain[0]);
    chain[1] = __fmaf_rn(scales.b0, sums.odd, chain[1]);
    chain[2] = __fmaf_rn(scales.b1, sums.even, chain[2]);
    chain[3] = __fmaf_rn(scales.b1, sums.odd, chain[3]);
  }
  chain[0] = fma_to<kMayBeOdd>(scales.s0, dot[0], chain[0], odd);
  chain[1] = fma_to<kMayBeOdd>(scales.s0, dot[1], chain[1], odd);
  chain[2] = fma_to<kMayBeOdd>(scales.s1, dot[2], chain[2], odd);
  chain[3] = fma_to<kMayBeOdd>(scales.s1, dot[3], chain[3], odd);
}

/// Calls f(dot, sums) for each dot of a step: of its x, by mma with ones; of columns 2t, 2t + 1.
template <class Format, class F>
static __device__ __forceinline__ void each_dot_sum(const uint32_t (&b)[8], F f) {
  constexpr int kProducts = 4 / Format::kDots;
  const uint32_t ones[4] = {Format::Type::kOnes, Format::Type::kOnes, Format::Type::kOnes,
                            Format::Type::kOnes};
#pragma unroll
  for (int d = 0; d < Format::kDots; ++d) {
    float s[4] = {0, 0, 0, 0};
#pragma unroll
    for (int j = d * kProducts; j < (d + 1) * kProducts; ++j)
      Format::Type::multiply_add(s, s, ones, b[2 * j], b[2 * j + 1]);
    f(d, DotSums{s[0], s[1]});
  }
}
/// The same to `to`: 8 columns, 32 bytes a dot.
template <class Format>
static __device__ __forceinline__ void store_dot_sums(const uint32_t (&b)[8], uint32_t to, int g,
                                                      int t) {
  each_dot_sum<Format>(b, [&](int dot, const DotSums& sums) {
    if (g == 0)
      asm volatile("st.shared.v2.f32 [%0],{%1,%2};" ::"r"(to + dot * 32 + t * 8), "f"(sums.even),
                   "f"(sums.odd)
                   : "memory");
  });
}
template <class Format>
static __device__ __forceinline__ DotSums load_dot_sums(uint32_t from, int dot, int t) {
  if constexpr (Format::kAffine) {
    const uint2 v = load_shared8(from + dot * 32 + t * 8);
    return {__uint_as_float(v.x), __uint_as_float(v.y)};
  }
  return {0, 0};
}

template <class Format>
static __device__ __forceinline__ DotScales dot_scales(const typename Format::Scales& low,
                                                       const typename Format::Scales& high,
                                                       int step, int dot) {
  const int i = step * Format::kDots + dot;
  if constexpr (Format::kAffine)
    return {low.scale(i), high.scale(i), low.bias(i), high.bias(i)};
  else
    return {low.scale(i), high.scale(i), 0, 0};
}

// ---- how rows travel

/// 4 bytes, of which `bytes` are read and the others zero.
static __device__ __forceinline__ void copy_some4(uint32_t to, const void* from, int bytes) {
  asm volatile("cp.async.ca.shared.global [%0],[%1],4,%2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}

/// The scales of a row's unit where k is no multiple of 256 and rows begin at any even address:
/// whole words come along, from the one in which they begin to the one in which they end; beyond
/// the row they are zero. Of the last word of all there may be half.
template <int kWords>
static __device__ __forceinline__ void copy_scale_words(const uint8_t* scales, int row_bytes,
                                                        int unit_at, int row, bool is_last,
                                                        uint32_t to) {
  const int64_t begin = static_cast<int64_t>(row) * row_bytes + unit_at;
  const int before = static_cast<int>(begin & 3), bytes = row_bytes - unit_at + before;
  const uint8_t* const from = scales + (begin - before);
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    const int left = bytes - i * 4;
    if (left == 2 && is_last)
      asm volatile("st.shared.u32 [%0],%1;" ::"r"(to + i * 4),
                   "r"(uint32_t{*reinterpret_cast<const uint16_t*>(from + i * 4)})
                   : "memory");
    else
      copy_some4(to + i * 4, left > 0 ? from + i * 4 : from, min(max(left, 0), 4));
  }
}

template <class Format>
static __device__ __forceinline__ void copy_codes(const FlatWeight& w, const UnitCall& call,
                                                  int row0, int u, uint32_t to, int lane) {
  constexpr int kCodeBytes = Format::kCodeBytes, kChunks = kCodeBytes / 16;
  const int64_t row_bytes = call.w_row_bytes, unit_at = static_cast<int64_t>(u) * kCodeBytes;
  if constexpr (32 % kChunks == 0) {
    if (unit_at + kCodeBytes <= row_bytes && row0 + kTileRows <= w.n) {
      const int r = lane / kChunks, c = lane % kChunks * 16;
      const uint8_t* const from = w.codes + (row0 + r) * row_bytes + unit_at + c;
      const uint32_t at = to + static_cast<uint32_t>(r * Format::kRowBytes + c);
#pragma unroll
      for (int j = 0; j < kCodeBytes / 32; ++j)
        copy_async<16>(at + j * (32 / kChunks) * Format::kRowBytes,
                       from + j * (32 / kChunks) * row_bytes);
      return;
    }
  }
#pragma unroll(32 % kChunks == 0 ? 1 : kCodeBytes / 32)
  for (int j = 0; j < kCodeBytes / 32; ++j) {
    const int i = j * 32 + lane, r = i / kChunks, c = i % kChunks * 16;
    if (unit_at + c < row_bytes)
      copy_async<16>(to + static_cast<uint32_t>(r * Format::kRowBytes + c),
                     w.codes + min(row0 + r, w.n - 1) * row_bytes + unit_at + c);
  }
}

/// Starts the copies of a tile's unit u. Rows beyond n are the last one again: what they give is
/// not stored. Beyond k x and the scales are zero, and codes what they were before: always numbers.
template <class Format>
static __device__ __forceinline__ void copy_rows(const FlatWeight& w, const UnitCall& call,
                                                 int tile, int u, uint32_t to, int lane) {
  const int row0 = tile * kTileRows, last = w.n - 1, scales_at = u * call.unit_scales;
  copy_codes<Format>(w, call, row0, u, to, lane);
  if (!Format::kAffine && lane >= 16) return;
  const int r = lane & 15, row = min(row0 + r, last);
  const uint8_t* const scales = lane < 16 ? w.scales : w.biases;
  const uint32_t at =
      to + static_cast<uint32_t>(r * Format::kRowBytes +
                                 (lane < 16 ? Format::kScalesAt : Format::kBiasesAt));
  const uint8_t* const from = scales + static_cast<int64_t>(row) * call.row_scales + scales_at;
  if (Format::kCopiedWords > 4 || !call.whole)
    copy_scale_words<Format::kCopiedWords>(scales, call.row_scales, scales_at, row, row == last,
                                           at);
  else if (Format::kCopiedWords == 4 && call.unit_scales == 16)
    copy_async<16>(at, from);
  else if (!Format::kAffine || call.unit_scales == 8)
    copy_async<8>(at, from);
  else
    copy_async<4>(at, from);
}

/// Where in its first word a row's unit begins, in bits: the same for rows g and g + 8 of any tile
/// and in any unit.
static __device__ __forceinline__ int scale_shift(int row_scales, int row) {
  return (row_scales * row & 2) * 8;
}

/// The scales of a row's unit, 8 bytes from a `shift` on.
static __device__ __forceinline__ uint2 load_shifted8(uint32_t at, int shift) {
  const uint2 v = load_shared8(at);
  uint32_t next;
  asm volatile("ld.shared.u32 %0,[%1];" : "=r"(next) : "r"(at + 8));
  return {__funnelshift_r(v.x, v.y, shift), __funnelshift_r(v.y, next, shift)};
}

}  // namespace stepless::kernels::sm80
