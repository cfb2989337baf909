// The formats of the unit kernels: how a unit of 256 k lies in shared memory, and how codes become
// the numbers they are as operands of mma.
//
// Lane (g, t) holds runs of 8 consecutive codes of rows g and g + 8: of each 32 k those from 8 t
// on, where a dot is 64 k two of them, from 16 t on. A run is four pairs of codes, which are two
// operands when x is permuted alike.
#pragma once
#include "kernels/cuda/sm80/unit_order.cuh"

namespace stepless::kernels::sm80 {

static __device__ __forceinline__ uint32_t load_word(uint32_t from) {
  uint32_t v;
  asm volatile("ld.shared.u32 %0,[%1];" : "=r"(v) : "r"(from));
  return v;
}

// ---- elements: a run from shared memory, and pairs of its codes

constexpr uint32_t kMinusZeros = 0x80008000u;  // what a product is added to: its sign stays

/// E2M1. Sign and magnitude go where the type has them, exponents 2^126 (f16: 2^14) too low: 0.5 is
/// subnormal there, as it is in E2M1.
template <class Type_>
struct E2m1 {
  using Type = Type_;
  static constexpr int kBits = 4, kWords = 1, kApart = 4;
  static constexpr bool kRoundsToOdd = false;
  static __device__ __forceinline__ void load(uint32_t at, int t, uint32_t (&run)[kWords]) {
    run[0] = load_word(at + t * 4);
  }
  /// Codes i and i + 4.
  static __device__ __forceinline__ uint32_t pair(const uint32_t (&run)[kWords], int i) {
    if constexpr (Type::kHalf) {
      const uint32_t v = i < 2 ? run[0] : run[0] >> 8;
      const uint32_t placed = and_or(i % 2 == 0 ? v << 12 : v << 8, 0x80008000u,
                                     (i % 2 == 0 ? v << 9 : v << 5) & 0x0e000e00u);
      return Type::fma2(placed, 0x74007400u, kMinusZeros);
    }
    const uint32_t v = (i < 2 ? run[0] : run[0] >> 8) & (i % 2 == 0 ? 0x000f000fu : 0x00f000f0u);
    const uint32_t placed = v * (i % 2 == 0 ? 0x1040u : 0x104u) & 0x81c081c0u;
    return Type::fma2(placed, 0x7e807e80u, kMinusZeros);
  }
};

/// E4M3, in the same way 2^120 (f16: 2^8) too low. Its NaN is refused where weights are loaded.
template <class Type_>
struct E4m3 {
  using Type = Type_;
  static constexpr int kBits = 8, kWords = 2, kApart = 2;
  static constexpr bool kRoundsToOdd = false;
  static __device__ __forceinline__ void load(uint32_t at, int t, uint32_t (&run)[kWords]) {
    const uint2 v = load_shared8(at + t * 8);
    run[0] = v.x, run[1] = v.y;
  }
  /// Codes of one word, two apart.
  static __device__ __forceinline__ uint32_t pair(const uint32_t (&run)[kWords], int i) {
    const uint32_t v = run[i / 2];
    const uint32_t sign = i % 2 == 0 ? v << 8 : v;
    if constexpr (Type::kHalf)
      return Type::fma2(and_or(sign, 0x80008000u, (i % 2 == 0 ? v << 7 : v >> 1) & 0x3f803f80u),
                        0x5c005c00u, kMinusZeros);
    const uint32_t placed = and_or(sign, 0x80008000u, (i % 2 == 0 ? v << 4 : v >> 4) & 0x07f007f0u);
    return Type::fma2(placed, 0x7b807b80u, kMinusZeros);
  }
};

/// Affine codes: those of up to 7 bits (f16: 10) become the last bits of 128 (1024), which is then
/// subtracted: both are exact.
template <class Type_, int kBits_>
struct Integers {
  using Type = Type_;
  static constexpr bool kHalf = Type::kHalf, kRoundsToOdd = kHalf && kBits_ > 4;
  static constexpr int kBits = kBits_, kWords = kBits > 4 ? 2 : 1, kApart = kBits == 8 ? 2 : 4;
  static constexpr uint32_t kOffset = kHalf ? 0x64006400u : 0x43004300u;
  static constexpr uint32_t kMinusOffset = kOffset | 0x80008000u;

  static __device__ __forceinline__ void load(uint32_t at, int t, uint32_t (&run)[kWords]) {
    if constexpr (kBits == 8) {
      const uint2 v = load_shared8(at + t * 8);
      run[0] = v.x, run[1] = v.y;
    } else if constexpr (kBits == 4) {
      run[0] = load_word(at + t * 4);
    } else {
      const uint32_t bytes = static_cast<uint32_t>(t * kBits), from = at + (bytes & ~3u);
      const int shift = static_cast<int>(bytes & 3) * 8;
      const uint32_t first = load_word(from);
      if constexpr (kBits <= 2) {
        run[0] = first >> shift;
      } else {
        const uint32_t second = load_word(from + 4);
        run[0] = __funnelshift_r(first, second, shift);
        if constexpr (kBits > 4) run[1] = second >> shift;
      }
    }
  }
  /// A word in which the code that begins at `bit` begins at `to`.
  static __device__ __forceinline__ uint32_t moved(const uint32_t (&run)[kWords], int bit, int to) {
    const int by = bit % 32 - to;
    if (bit % 32 + kBits > 32) return __funnelshift_r(run[0], run[kWords - 1], by);
    return by >= 0 ? run[bit / 32] >> by : run[bit / 32] << -by;
  }
  /// Codes i and i + 4; of 8 bits two of one word, two apart.
  static __device__ __forceinline__ uint32_t pair(const uint32_t (&run)[kWords], int i) {
    if constexpr (kBits == 8) {
      const uint32_t v = run[i / 2] >> i % 2 * 8;
      if constexpr (kHalf)
        return Type::fma2(and_or(v, 0x00ff00ffu, kOffset), Type::kOnes, kMinusOffset);
      // 128 + q without its top bit, less 128 where that bit is not set.
      const uint32_t less = ((v & 0x00800080u) ^ 0x00800080u) * (0xC300 / 0x80);
      return Type::fma2(and_or(v, 0x007f007fu, kOffset), Type::kOnes, less);
    } else if constexpr (kBits == 4 && kHalf) {
      const uint32_t v = i < 2 ? run[0] : run[0] >> 8;
      if (i % 2 == 0) return Type::fma2(and_or(v, 0x000f000fu, kOffset), Type::kOnes, kMinusOffset);
      return Type::fma2(and_or(v, 0x00f000f0u, kOffset), 0x2c002c00u, 0xd400d400u);  // 1024 + 16 q
    } else if constexpr (kBits == 4) {
      return Type::fma2(and_or(run[0] >> i * 4, 0x000f000fu, kOffset), Type::kOnes, kMinusOffset);
    } else {
      constexpr uint32_t kMask = (1u << kBits) - 1;
      const uint32_t one = and_or(moved(run, i * kBits, 0), kMask, kOffset);
      const uint32_t both = and_or(moved(run, (i + 4) * kBits, 16), kMask << 16, one);
      return Type::fma2(both, Type::kOnes, kMinusOffset);
    }
  }
};

// ---- scales of a row's unit

/// What it takes to read them: where a row begins in its first word, the size of groups, and what
/// a weight's scales are multiplied by.
struct ScaleRule {
  int shift, decode_shift, group;  // of row g, and of row lane / 2
  float tensor_scale;
  DType type;
};

/// With two dots to a step groups of 64 and 128 are served as well: they are two and four of 32.
template <class Type, int kDots>
struct AffineScales {
  static constexpr int kRoom = 16, kCopiedWords = kDots == 2 ? 4 : 3;
  static constexpr int size(DType) { return 2; }
  static constexpr bool kMayShift = true;
  uint32_t s[2 * kDots], b[2 * kDots];

  static __device__ __forceinline__ void read(uint32_t at, const ScaleRule& rule,
                                              uint32_t (&words)[2 * kDots]) {
    const bool twice = rule.group == 2 * kStepK;  // each serves two steps
    if constexpr (kDots == 2) {
      uint4 v = load_shared16(at);
      if (rule.group != kStepK / 2) {
        const uint32_t x = __funnelshift_r(v.x, v.y, rule.shift);
        const uint32_t y = twice ? x : __funnelshift_r(v.y, v.z, rule.shift);
        v.x = __byte_perm(x, 0, 0x1010), v.y = __byte_perm(x, 0, twice ? 0x1010 : 0x3232);
        v.z = __byte_perm(y, 0, twice ? 0x3232 : 0x1010), v.w = __byte_perm(y, 0, 0x3232);
      }
      words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
    } else {
      const uint2 v = load_shifted8(at, rule.shift);
      words[0] = __byte_perm(v.x, v.y, twice ? 0x1010 : 0x3210);
      words[1] = __byte_perm(v.x, v.y, twice ? 0x3232 : 0x7654);
    }
  }
  static __device__ __forceinline__ AffineScales load(uint32_t scales, uint32_t biases,
                                                      const ScaleRule& rule) {
    AffineScales all;
    read(scales, rule, all.s);
    read(biases, rule, all.b);
    return all;
  }
  static __device__ __forceinline__ float pick(const uint32_t (&words)[2 * kDots], int i) {
    return i % 2 == 0 ? Type::low(words[i / 2]) : Type::high(words[i / 2]);
  }
  __device__ __forceinline__ float scale(int i) const { return pick(s, i); }
  __device__ __forceinline__ float bias(int i) const { return pick(b, i); }
};

/// E8M0: the exponent of a float32, of which 0 is subnormal, 2^-127.
struct PowerScales {
  static constexpr int kRoom = 16, kCopiedWords = 3;
  static constexpr int size(DType) { return 1; }
  static constexpr bool kMayShift = true;
  uint2 s;
  static __device__ __forceinline__ PowerScales load(uint32_t scales, uint32_t,
                                                     const ScaleRule& rule) {
    return {load_shifted8(scales, rule.shift)};
  }
  __device__ __forceinline__ float scale(int i) const {
    const uint32_t word = i < 4 ? s.x : s.y;
    const int by = i % 4 * 8 - 23;
    const uint32_t exponent = (by < 0 ? word << -by : word >> by) & 0x7f800000u;
    return __uint_as_float(max(exponent, 0x00400000u));
  }
  static __device__ __forceinline__ void decode_half(uint32_t scales, int half,
                                                     const ScaleRule& rule, float (&to)[4]) {
    const uint32_t at = scales + half * 4;
    const PowerScales four{
        {__funnelshift_r(load_word(at), load_word(at + 4), rule.decode_shift), 0}};
#pragma unroll
    for (int i = 0; i < 4; ++i) to[i] = four.scale(i);
  }
};

/// E4M3, as f16 of exponents 2^8 too low, times the tensor's scale: rounded once.
struct ByteScales {
  static constexpr int kRoom = 16, kCopiedWords = 4;
  static constexpr int size(DType) { return 1; }
  static constexpr bool kMayShift = false;
  uint4 s;
  float times;
  static __device__ __forceinline__ ByteScales load(uint32_t scales, uint32_t,
                                                    const ScaleRule& rule) {
    return {load_shared16(scales), rule.tensor_scale * 256};
  }
  __device__ __forceinline__ float scale(int i) const {
    const uint32_t v = i < 8 ? (i < 4 ? s.x : s.y) : (i < 12 ? s.z : s.w);
    const uint32_t pair = i % 2 == 0
                              ? and_or(v << 8, 0x80008000u, v << 7 & 0x3f803f80u)  // bytes 0 and 2
                              : and_or(v, 0x80008000u, v >> 1 & 0x3f803f80u);      // 1 and 3
    return (i % 4 < 2 ? F16::low(pair) : F16::high(pair)) * times;
  }
  static __device__ __forceinline__ void decode_half(uint32_t scales, int half,
                                                     const ScaleRule& rule, float (&to)[8]) {
    const uint2 bytes = load_shared8(scales + half * 8);
    const ByteScales eight{{bytes.x, bytes.y, 0, 0}, rule.tensor_scale * 256};
#pragma unroll
    for (int i = 0; i < 8; ++i) to[i] = eight.scale(i);
  }
};

// ---- formats

/// kDots_ in a step of 64 k: 1, 2 for groups of 32, 4 for those of 16.
template <class Element, class Scales_, int kDots_, bool kAffine_>
struct UnitFormat {
  using Type = typename Element::Type;
  using Scales = Scales_;
  static constexpr int kDots = kDots_;
  static constexpr bool kAffine = kAffine_, kMayShift = Scales::kMayShift;
  static constexpr bool kTensorScale = kDots == 4;
  // A tensor's scale makes those of blocks as long as a float32.
  static constexpr bool kRoundsToOdd = Element::kRoundsToOdd || (kTensorScale && Type::kHalf);
  /// Whether unit_few has a tile's scales decoded once: else the four lanes of a row all do.
  static constexpr bool kDecodesOnce = !kAffine;
  static constexpr int kCopiedWords = Scales::kCopiedWords;
  static constexpr int kCodeBytes = kUnitK / 8 * Element::kBits;
  static constexpr int kScalesAt = kCodeBytes, kBiasesAt = kScalesAt + Scales::kRoom;
  static constexpr int kNeeded = kCodeBytes + (kAffine ? 2 : 1) * Scales::kRoom;
  // Rows an odd multiple of 16 bytes apart spread the banks for words, of 32 for pairs of words.
  static constexpr int kSpread = Element::kBits == 8 ? 32 : 16;
  static constexpr int kRowBytes = ((kNeeded + kSpread - 1) / kSpread | 1) * kSpread;
  static constexpr int kUnitBytes = kTileRows * kRowBytes;

  // Groups of 16 are half a run: lanes 2i and 2i + 1 read one word, and take two pairs each.
  static constexpr int kRuns = kDots == 4 ? 4 : 2;
  struct Codes {
    uint32_t low[kRuns][Element::kWords], high[kRuns][Element::kWords];
  };
  static __device__ __forceinline__ void load_row(uint32_t at, int t,
                                                  uint32_t (&runs)[kRuns][Element::kWords]) {
#pragma unroll
    for (int h = 0; h < kRuns; ++h)
      if constexpr (kDots == 4)
        runs[h][0] = load_word(at + h * 8 + t / 2 * 4) >> t % 2 * 8;
      else
        Element::load(at + (kDots == 1 ? h : h * 4) * Element::kBits, kDots == 1 ? 2 * t : t,
                      runs[h]);
  }
  static __device__ __forceinline__ Codes load(uint32_t row, int step, int t) {
    const uint32_t at = row + static_cast<uint32_t>(step * (kCodeBytes / kSteps));
    Codes codes;
    load_row(at, t, codes.low);
    load_row(at + 8 * kRowBytes, t, codes.high);
    return codes;
  }
  static __device__ __forceinline__ void to_operand(const Codes& c, int j, uint32_t (&a)[4]) {
    const int run = kDots == 4 ? j : j / 2, pair = kDots == 4 ? 0 : j % 2 * 2;
    a[0] = Element::pair(c.low[run], pair), a[1] = Element::pair(c.high[run], pair);
    a[2] = Element::pair(c.low[run], pair + 1), a[3] = Element::pair(c.high[run], pair + 1);
  }

  /// A column's x of a step, runs as those of codes.
  struct X {
    uint4 run[kRuns];
  };
  static __device__ __forceinline__ X load_x(const uint8_t* from, int t) {
    X x;
#pragma unroll
    for (int h = 0; h < kRuns; ++h)
      x.run[h] = load_input16(from + (kDots == 4   ? h * 32 + t / 2 * 16
                                      : kDots == 2 ? h * 64 + t * 16
                                                   : h * 16 + t * 32));
    return x;
  }
  static __device__ __forceinline__ X no_x() {
    X x;
#pragma unroll
    for (int h = 0; h < kRuns; ++h) x.run[h] = make_uint4(0, 0, 0, 0);
    return x;
  }
  static __device__ __forceinline__ void permute(const X& x, int t, uint32_t (&b)[8]) {
#pragma unroll
    for (int h = 0; h < kRuns; ++h) {
      const uint4 v = x.run[h];
      if constexpr (kDots == 4) {
        const uint32_t first = t % 2 == 0 ? v.x : v.y, second = t % 2 == 0 ? v.z : v.w;
        b[2 * h] = __byte_perm(first, second, 0x5410);
        b[2 * h + 1] = __byte_perm(first, second, 0x7632);
      } else {
        const uint32_t other = Element::kApart == 4 ? v.z : v.y;
        const uint32_t third = Element::kApart == 4 ? v.y : v.z;
        b[4 * h] = __byte_perm(v.x, other, 0x5410), b[4 * h + 1] = __byte_perm(v.x, other, 0x7632);
        b[4 * h + 2] = __byte_perm(third, v.w, 0x5410);
        b[4 * h + 3] = __byte_perm(third, v.w, 0x7632);
      }
    }
  }
  static __device__ __forceinline__ Scales load_scales(uint32_t row, const ScaleRule& rule) {
    return Scales::load(row + kScalesAt, row + kBiasesAt, rule);
  }
  static __device__ __forceinline__ ScaleRule rule(const UnitCall& call, int lane) {
    return {kMayShift ? scale_shift(call.row_scales, lane >> 2) : 0,
            kMayShift ? scale_shift(call.row_scales, lane >> 1) : 0, call.group, 1,
            call.scale_type};
  }
};

/// The scales of a tile's unit as float32 in shared memory: a lane decodes half of a row's. Rows
/// are 16 bytes further apart than they are long, so that eight of them spread over the banks.
template <class Format>
struct DecodedScales {
  static constexpr int kDots = Format::kDots, kRowBytes = kSteps * kDots * 4 + 16;
  static constexpr int kBytes = Format::kDecodesOnce ? kTileRows * kRowBytes : 0;
  static __device__ __forceinline__ void decode(uint32_t unit, const ScaleRule& rule, uint32_t to,
                                                int lane) {
    const int row = lane / 2, half = lane % 2;
    float all[2 * kDots];
    Format::Scales::decode_half(unit + row * Format::kRowBytes + Format::kScalesAt, half, rule,
                                all);
#pragma unroll
    for (int i = 0; i < 2 * kDots; i += 4) {
      const float four[4] = {all[i], all[i + 1], all[i + 2], all[i + 3]};
      store_sums(to + row * kRowBytes + half * kDots * 8 + i * 4, four);
    }
  }
  /// Those of a row's step.
  static __device__ __forceinline__ void load(uint32_t from, int row, int step,
                                              float (&scales)[kDots]) {
    const uint32_t at = from + row * kRowBytes + step * kDots * 4;
    if constexpr (kDots == 4) {
      load_sums(at, scales);
    } else {
      const uint2 two = load_shared8(at);
      scales[0] = __uint_as_float(two.x), scales[1] = __uint_as_float(two.y);
    }
  }
};

template <class Type, int kBits, int kDots>
using AffineUnits = UnitFormat<Integers<Type, kBits>, AffineScales<Type, kDots>, kDots, true>;
template <class Type>
using Mxfp4Units = UnitFormat<E2m1<Type>, PowerScales, 2, false>;
template <class Type>
using Mxfp8Units = UnitFormat<E4m3<Type>, PowerScales, 2, false>;
template <class Type>
using Nvfp4Units = UnitFormat<E2m1<Type>, ByteScales, 4, false>;

}  // namespace stepless::kernels::sm80
