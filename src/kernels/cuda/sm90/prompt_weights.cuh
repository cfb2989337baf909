// The weights of prompt_tile.cuh's products, by format: how a row's stage, some steps of 64 k, lies
// in shared memory, and how a lane's 16 of a row's step become operands of x's type, each weight
// rounded once to it. x stands so that weights i and i + 4 of eight share a register (permute_x()).
#pragma once
#include "kernels/cuda/sm80/sixteen_codes.cuh"
#include "kernels/cuda/sm90/number_codes.cuh"

namespace stepless::kernels::sm90 {

using namespace sm80;

/// 64 rows of which a warp copies 128 bytes each, from `from` on, one row `row_bytes` behind the
/// other; rows beyond `last` are that one again: what they give is not stored.
template <int kPitch>
static __device__ __forceinline__ void copy_lines(const uint8_t* from, int64_t row_bytes, int row0,
                                                  int last, uint32_t to, int lane) {
#pragma unroll 8
  for (int r = lane / 8; r < 64; r += 4)
    copy_async<16>(to + static_cast<uint32_t>(r * kPitch + lane % 8 * 16),
                   from + min(row0 + r, last) * row_bytes + lane % 8 * 16);
}
/// The same of what belongs to them, kBytes a row.
template <int kBytes, int kPitch>
static __device__ __forceinline__ void copy_sides(const uint8_t* from, int64_t row_bytes, int row0,
                                                  int last, uint32_t to, int lane) {
#pragma unroll
  for (int r = lane; r < 64; r += 32)
    copy_async<kBytes>(to + static_cast<uint32_t>(r * kPitch),
                       from + min(row0 + r, last) * row_bytes);
}

/// Of affine codes: scales and biases of a lane's two rows, each twice.
struct TwiceScales {
  uint32_t s[2], b[2];
  template <int kPitch>
  static __device__ __forceinline__ TwiceScales load(uint32_t scales, uint32_t biases) {
    TwiceScales two;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      two.s[i] = load_shared_twice(scales + i * 8 * kPitch);
      two.b[i] = load_shared_twice(biases + i * 8 * kPitch);
    }
    return two;
  }
};

/// 4 bits: fma(scale, code, bias).
template <int kGroup, class Type_>
struct PromptFourBits {
  using Type = Type_;
  static constexpr bool kTensorScale = false;
  static constexpr int kStageSteps = kSteps, kPitch = kRowBytes;
  static constexpr int stages(int cols) { return cols == 256 ? 2 : 3; }

  static __device__ __forceinline__ void copy(const FlatWeight& w, int row0, int stage, uint32_t to,
                                              int lane) {
    constexpr int kScaleBytes = kUnitK / kGroup * 2;
    const int last = w.n - 1;
    const int64_t row_scales = w.k / kGroup * 2;
    copy_lines<kPitch>(w.codes + stage * (kUnitK / 2), w.k / 2, row0, last, to, lane);
    copy_sides<kScaleBytes, kPitch>(w.scales + stage * kScaleBytes, row_scales, row0, last,
                                    to + kScalesAt, lane);
    copy_sides<kScaleBytes, kPitch>(w.biases + stage * kScaleBytes, row_scales, row0, last,
                                    to + kBiasesAt, lane);
  }

  StepCodes codes;
  TwiceScales scales;
  static __device__ __forceinline__ PromptFourBits load(uint32_t row, int step, int t, float) {
    const int group = step * kStepK / kGroup * 2;
    return {load_codes(row, step, t),
            TwiceScales::load<kPitch>(row + kScalesAt + group, row + kBiasesAt + group)};
  }
  __device__ __forceinline__ void decode(int j, uint32_t (&a)[4]) const {
    operand<Type::kLastBits, Type>(codes, j, a);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      a[i] = Type::fma2(scales.s[i % 2], Type::add2(a[i], Type::kLastBitsTwice | 0x80008000u),
                        scales.b[i % 2]);
  }
};

/// 1 to 3 bits, likewise. (5 and 6 bits, rounded to bf16, exceed the contract's bound by 6 % with
/// scales as quantize() makes them.)
template <int kBits, int kGroup>
struct PromptBits {
  using Type = Bf16;
  using Codes = Integers<Type, kBits>;  // each eight in turn
  static constexpr bool kTensorScale = false;
  static constexpr int kStageSteps = kSteps, kCodeBytes = kUnitK / 8 * kBits;
  static constexpr int kScaleBytes = kUnitK / kGroup * 2, kSide = kCodeBytes;
  static constexpr int kPitch = kCodeBytes + 2 * kScaleBytes + (kGroup == 64 ? 0 : 8);
  static constexpr int stages(int cols) { return cols == 256 ? 2 : 3; }

  static __device__ __forceinline__ void copy(const FlatWeight& w, int row0, int stage, uint32_t to,
                                              int lane) {
    constexpr int kChunks = kCodeBytes / 16;
    const int last = w.n - 1;
    const int64_t row_bytes = static_cast<int64_t>(w.k / 8) * kBits, row_scales = w.k / kGroup * 2;
    const uint8_t* const codes = w.codes + stage * kCodeBytes;
#pragma unroll 8
    for (int i = lane; i < 64 * kChunks; i += 32) {
      const int r = i / kChunks, c = i % kChunks * 16;
      copy_async<16>(to + static_cast<uint32_t>(r * kPitch + c),
                     codes + min(row0 + r, last) * row_bytes + c);
    }
    copy_sides<kScaleBytes, kPitch>(w.scales + stage * kScaleBytes, row_scales, row0, last,
                                    to + kSide, lane);
    copy_sides<kScaleBytes, kPitch>(w.biases + stage * kScaleBytes, row_scales, row0, last,
                                    to + kSide + kScaleBytes, lane);
  }

  using Run = uint32_t[Codes::kWords];
  Run low[2], high[2];
  TwiceScales scales;
  static __device__ __forceinline__ PromptBits load(uint32_t row, int step, int t, float) {
    const uint32_t at = row + static_cast<uint32_t>(step * (kStepK / 8) * kBits);
    const uint32_t side = row + static_cast<uint32_t>(kSide + step * kStepK / kGroup * 2);
    PromptBits w;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      Codes::load(at, 2 * t + i, w.low[i]);
      Codes::load(at + 8 * kPitch, 2 * t + i, w.high[i]);
    }
    w.scales = TwiceScales::load<kPitch>(side, side + kScaleBytes);
    return w;
  }
  __device__ __forceinline__ void decode(int j, uint32_t (&a)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Run& run = i % 2 == 0 ? low[j / 2] : high[j / 2];
      a[i] = Type::fma2(scales.s[i % 2], Codes::pair(run, j % 2 * 2 + i / 2), scales.b[i % 2]);
    }
  }
};

/// Bytes between rows of 8 bits: 16-byte reads of eight lanes, two rows, spread over all banks.
constexpr int kEightPitch = 192, kEightSide = 128;

/// 8 bits, two steps to a stage.
template <int kGroup, class Type_>
struct PromptEightBits {
  using Type = Type_;
  static constexpr bool kTensorScale = false;
  static constexpr int kStageSteps = 2, kPitch = kEightPitch;
  static constexpr int kScalesAt = kEightSide, kBiasesAt = kScalesAt + 4;
  static constexpr int stages(int cols) { return cols == 256 ? 3 : 4; }

  static __device__ __forceinline__ void copy(const FlatWeight& w, int row0, int stage, uint32_t to,
                                              int lane) {
    constexpr int kStageK = kStageSteps * kStepK;
    const int last = w.n - 1;
    const int64_t row_scales = w.k / kGroup * 2;
    copy_lines<kPitch>(w.codes + stage * kStageK, w.k, row0, last, to, lane);
    // Of groups of 128 the other half of four bytes is a neighbour's.
    const int at = stage * kStageK / kGroup * 2 & ~3;
    copy_sides<4, kPitch>(w.scales + at, row_scales, row0, last, to + kScalesAt, lane);
    copy_sides<4, kPitch>(w.biases + at, row_scales, row0, last, to + kBiasesAt, lane);
  }

  uint4 low, high;
  TwiceScales scales;  // of bf16 those of -q
  static __device__ __forceinline__ PromptEightBits load(uint32_t row, int step, int t, float) {
    const int group = kGroup == 64 ? step % 2 * 2 : step / 2 * 2;
    const uint32_t at = row + static_cast<uint32_t>(step % kStageSteps * kStepK + t * 16);
    PromptEightBits w{load_shared16(at), load_shared16(at + 8 * kPitch),
                      TwiceScales::load<kPitch>(row + kScalesAt + group, row + kBiasesAt + group)};
    if constexpr (!Type::kHalf)
#pragma unroll
      for (uint32_t& s : w.scales.s) s ^= 0x80008000u;
    return w;
  }
  /// Codes i and i + 4 of eight: in f16 as q, behind 1024, in bf16 as -q.
  static __device__ __forceinline__ uint32_t pair(uint32_t four, int i) {
    if constexpr (!Type::kHalf) return minus_bytes(four, i);
    return Type::add2(__byte_perm(four, 0x64646464u, i == 0 ? 0x4240u : 0x4341u),
                      Type::kLastBitsTwice | 0x80008000u);
  }
  __device__ __forceinline__ void decode(int j, uint32_t (&a)[4]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4& row = i == 0 ? low : high;
      const uint32_t first = j < 2 ? row.x : row.z, second = j < 2 ? row.y : row.w;
      const uint32_t four = __byte_perm(first, second, j % 2 == 0 ? 0x5410 : 0x7632);
      a[i] = Type::fma2(scales.s[i], pair(four, 0), scales.b[i]);
      a[i + 2] = Type::fma2(scales.s[i], pair(four, 1), scales.b[i]);
    }
  }
};

/// x's own type as it is, a step to a stage.
template <class Type_>
struct PromptDense {
  using Type = Type_;
  static constexpr bool kTensorScale = false;
  static constexpr int kStageSteps = 1, kPitch = 144;  // as kEightPitch
  static constexpr int stages(int cols) { return cols == 256 ? 4 : 6; }

  static __device__ __forceinline__ void copy(const FlatWeight& w, int row0, int stage, uint32_t to,
                                              int lane) {
    copy_lines<kPitch>(w.codes + stage * (kStepK * 2), int64_t{w.k} * 2, row0, w.n - 1, to, lane);
  }

  uint32_t low[8], high[8];
  static __device__ __forceinline__ PromptDense load(uint32_t row, int, int t, float) {
    const uint32_t at = row + static_cast<uint32_t>(t * 32);
    PromptDense w;
    permute_x(load_shared16(at), load_shared16(at + 16), w.low);
    permute_x(load_shared16(at + 8 * kPitch), load_shared16(at + 8 * kPitch + 16), w.high);
    return w;
  }
  __device__ __forceinline__ void decode(int j, uint32_t (&a)[4]) const {
    a[0] = low[2 * j], a[1] = high[2 * j], a[2] = low[2 * j + 1], a[3] = high[2 * j + 1];
  }
};

static __device__ __forceinline__ uint32_t load_shared1(uint32_t from) {
  uint32_t v;
  asm volatile("ld.shared.u8 %0,[%1];" : "=r"(v) : "r"(from));
  return v;
}
/// E8M0 as bf16, twice: its exponent, of which 0 is subnormal.
static __device__ __forceinline__ uint32_t power_twice(uint32_t e) {
  return max(e << 7, 0x40u) * 0x00010001u;
}

/// E2M1 or E4M3 with a power of two for each 32: both together are exact in bf16.
template <int kBits>
struct PromptPowers {
  using Type = Bf16;
  static constexpr bool kTensorScale = false;
  static constexpr int kStageSteps = kBits == 4 ? kSteps : 2, kStageK = kStageSteps * kStepK;
  static constexpr int kPitch = kBits == 4 ? kRowBytes : kEightPitch, kSide = 128;
  static constexpr int stages(int cols) {
    return kBits == 4 ? PromptFourBits<64, Bf16>::stages(cols)
                      : PromptEightBits<64, Bf16>::stages(cols);
  }

  static __device__ __forceinline__ void copy(const FlatWeight& w, int row0, int stage, uint32_t to,
                                              int lane) {
    constexpr int kScales = kStageK / 32;
    copy_lines<kPitch>(w.codes + stage * 128, w.k / 8 * kBits, row0, w.n - 1, to, lane);
    copy_sides<kScales, kPitch>(w.scales + stage * kScales, w.k / 32, row0, w.n - 1, to + kSide,
                                lane);
  }

  uint32_t low[kBits / 2], high[kBits / 2], scales[2];
  static __device__ __forceinline__ void load_row(uint32_t at, uint32_t (&words)[kBits / 2]) {
    if constexpr (kBits == 4) {
      const uint2 v = load_shared8(at);
      words[0] = v.x, words[1] = v.y;
    } else {
      const uint4 v = load_shared16(at);
      words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
    }
  }
  static __device__ __forceinline__ PromptPowers load(uint32_t row, int step, int t, float) {
    const int in_stage = step % kStageSteps;
    const uint32_t at = row + static_cast<uint32_t>((in_stage * kStepK + t * 16) * kBits / 8);
    const uint32_t scale = row + static_cast<uint32_t>(kSide + in_stage * 2 + t / 2);
    PromptPowers w;
    load_row(at, w.low), load_row(at + 8 * kPitch, w.high);
    w.scales[0] = power_twice(load_shared1(scale));
    w.scales[1] = power_twice(load_shared1(scale + 8 * kPitch));
    return w;
  }
  /// Numbers i and i + 4 of eight, and those behind them.
  static __device__ __forceinline__ void pairs(const uint32_t (&words)[kBits / 2], int j,
                                               uint32_t& first, uint32_t& second) {
    if constexpr (kBits == 4) {
      first = CodePairs<4>::pair(words[j / 2], j % 2 * 2);
      second = CodePairs<4>::pair(words[j / 2], j % 2 * 2 + 1);
    } else {
      const uint32_t four =
          __byte_perm(words[j / 2 * 2], words[j / 2 * 2 + 1], j % 2 == 0 ? 0x5410 : 0x7632);
      first = CodePairs<8>::pair(four, 0), second = CodePairs<8>::pair(four, 1);
    }
  }
  __device__ __forceinline__ void decode(int j, uint32_t (&a)[4]) const {
    pairs(low, j, a[0], a[2]), pairs(high, j, a[1], a[3]);
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = Bf16::fma2(a[i], scales[i % 2], kMinusZeros);
  }
};

/// E2M1 with an E4M3 for each 16, times the tensor's scale: rounded once.
struct PromptBlocks {
  using Type = Bf16;
  static constexpr bool kTensorScale = true;
  static constexpr int kStageSteps = kSteps, kPitch = kRowBytes, kSide = 128;
  static constexpr int stages(int cols) { return PromptFourBits<64, Bf16>::stages(cols); }

  static __device__ __forceinline__ void copy(const FlatWeight& w, int row0, int stage, uint32_t to,
                                              int lane) {
    copy_lines<kPitch>(w.codes + stage * 128, w.k / 2, row0, w.n - 1, to, lane);
    copy_sides<16, kPitch>(w.scales + stage * 16, w.k / 16, row0, w.n - 1, to + kSide, lane);
  }

  StepCodes codes;
  float scales[2];
  static __device__ __forceinline__ PromptBlocks load(uint32_t row, int step, int t, float times) {
    const uint32_t scale = row + static_cast<uint32_t>(kSide + step * 4 + t);
    return {load_codes(row, step, t),
            {e4m3_times(load_shared1(scale), times).x,
             e4m3_times(load_shared1(scale + 8 * kPitch), times).x}};
  }
  __device__ __forceinline__ void decode(int j, uint32_t (&a)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint2& row = i % 2 == 0 ? codes.low : codes.high;
      const uint32_t v = CodePairs<4>::pair(j < 2 ? row.x : row.y, j % 2 * 2 + i / 2);
      a[i] = Bf16::pair(low_bf16(v) * scales[i % 2], high_bf16(v) * scales[i % 2]);
    }
  }
};

}  // namespace stepless::kernels::sm90
