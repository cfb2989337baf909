// What the wide kernels ask of weights, in both orders of summation: how a unit of 256 k lies in
// shared memory, how x is laid out beside it, and how a step of 64 k joins its chains.
#pragma once
#include "kernels/cuda/sm80/flat_formats.cuh"
#include "kernels/cuda/sm80/unit_launch.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"

namespace stepless::kernels::sm90 {

using namespace sm80;

/// A unit of 256 k of kCols rows of x: what belongs to it as a whole, then its steps, of which each
/// has four operands, 32 bytes of a row's 128, and what belongs to the step.
template <int kCols, class Kind>
struct WideUnit {
  static constexpr int kOperand = 32, kOperands = kCols * 128;
  static constexpr int kFront = Kind::template front_bytes<kCols>();
  static constexpr int kStep = kOperands + Kind::template step_bytes<kCols>();
  static constexpr int kBytes = kFront + kSteps * kStep;
  static_assert(kFront % 1024 == 0 && kStep % 1024 == 0, "operands are swizzled");
  static __host__ __device__ constexpr int step_at(int step) { return kFront + step * kStep; }
};

/// Lane (g, t) of block `block` of 8 columns stores its operands of a step, by way of shared
/// memory, so that the warp writes 512 bytes at a time.
static __device__ __forceinline__ void keep_operands(const uint32_t (&b)[8], uint8_t* step,
                                                     int block) {
  __shared__ uint4 rooms[8][64];  // of a warp of a block of 256 threads
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  uint4* const room = rooms[threadIdx.x / 32];
  __syncwarp();
#pragma unroll
  for (int j = 0; j < 8; ++j) reinterpret_cast<uint32_t*>(room)[g * 32 + (j ^ g) * 4 + t] = b[j];
  __syncwarp();
  auto* const to = reinterpret_cast<uint4*>(step + block * 1024);
  to[lane] = room[lane], to[lane + 32] = room[lane + 32];
}

/// Order mma_k512 (flat_units.cuh): a unit's first product, of its scales and biases, then a dot
/// for each step.
template <class Format_>
struct FlatWide {
  using Format = Format_;
  using Sums = typename Format::Sums;
  using Block = SumBlock<Format::kGroup>;
  struct Call {};
  using Type = typename Format::Type;
  static constexpr DType kType = Type::kType;
  static constexpr int kDots = 1;
  static constexpr bool kWholeUnits = true;  // k is a multiple of 256
  static constexpr bool kLoadsSums = false;
  template <int kCols>
  static constexpr int front_bytes() {
    return kCols / 8 * Block::kBytes;
  }
  template <int kCols>
  static constexpr int step_bytes() {
    return 0;
  }
  static Call call_of(const FlatCall&) { return {}; }
  static RowBytes row_bytes(const MatmulArgs& a) { return {a.w_row_bytes, a.k / a.group_size * 2}; }

  static __device__ __forceinline__ void copy(const FlatWeight& w, const Call&, int tile, int unit,
                                              uint32_t to, int lane) {
    Format::copy(w, tile, unit, to, lane);
  }
  /// A unit of 8 columns by a warp. `row`: of x, of this lane's column; null: zeros.
  template <int kCols>
  static __device__ __forceinline__ void prepare(const uint8_t* row, int unit, int, int block,
                                                 uint8_t* at) {
    using Unit = WideUnit<kCols, FlatWide>;
    uint32_t b[kSteps][8];
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      uint4 p = make_uint4(0, 0, 0, 0), q = p;
      if (row != nullptr) {
        const uint8_t* const from = row + (unit * kUnitK + i * kStepK + threadIdx.x % 4 * 16) * 2;
        p = load_input16(from), q = load_input16(from + 16);
      }
      Format::permute(p, q, b[i]);
    }
#pragma unroll
    for (int i = 0; i < kSteps; ++i) keep_operands(b[i], at + Unit::step_at(i), block);
    Block::each(Format::sums_of(b), [&](int byte, uint32_t word) {
      *reinterpret_cast<uint32_t*>(at + block * Block::kBytes + byte + threadIdx.x % 32 * 4) = word;
    });
  }

  /// What a warp holds of a tile's unit; `row`: of lane (g, t), row g.
  struct Unit {
    typename Format::Scales low, high;
    uint32_t sums_a[4];
    __device__ __forceinline__ Unit(const FlatWide&, uint32_t row)
        : low(Format::Scales::load(row)), high(Format::Scales::load(row + 8 * Format::kRowBytes)) {
      const uint32_t word = row + Format::word_at(threadIdx.x % 4);
      Sums::to_operand(load_shared4(word), load_shared4(word + 8 * Format::kRowBytes), sums_a);
    }
  };
  __device__ __forceinline__ FlatWide(const Call&, int, bool, int) {}
  __device__ __forceinline__ void choose(const Call&, int) {}

  /// A unit's first product.
  template <int n>
  __device__ __forceinline__ void begin(float (&chain)[n / 2], const Unit& unit,
                                        uint32_t front) const {
    const uint64_t sums = Block::template operand<Type>(front);
#pragma unroll
    for (int j = 0; j < Sums::kProducts; ++j)
      Wgmma<n>::add(chain, unit.sums_a, sums + j * Block::template kApart<Type>);
  }
  template <int n>
  __device__ __forceinline__ void fold(float (&chain)[n], const float (&dot)[n], const Unit& unit,
                                       int step, int, uint32_t) const {
    const float low = unit.low.scale(step), high = unit.high.scale(step);
#pragma unroll
    for (int i = 0; i < n; ++i) chain[i] = __fmaf_rn(i % 4 < 2 ? low : high, dot[i], chain[i]);
  }
};

/// Order mma_units (unit_order.cuh): dots of a group each, which affine codes' sums of x go before.
template <class Format_>
struct UnitWide {
  using Format = Format_;
  using Call = UnitCall;
  static constexpr DType kType = Format::Type::kHalf ? DType::f16 : DType::bf16;
  static constexpr int kDots = Format::kDots;
  static constexpr bool kWholeUnits = false;
  static constexpr bool kLoadsSums = Format::kAffine;  // threads do, those of a step
  template <int kCols>
  static constexpr int front_bytes() {
    return 0;
  }
  /// The sums of each dot, (dot, column).
  template <int kCols>
  static constexpr int step_bytes() {
    return Format::kAffine ? (kDots * kCols * 4 + 1023) / 1024 * 1024 : 0;
  }
  static Call call_of(const FlatCall& call) { return unit_call<Format>(call); }
  static RowBytes row_bytes(const MatmulArgs& a) {
    return {a.w_row_bytes, a.k / a.group_size * Format::Scales::size(a.w_type)};
  }

  static __device__ __forceinline__ void copy(const FlatWeight& w, const Call& call, int tile,
                                              int unit, uint32_t to, int lane) {
    copy_rows<Format>(w, call, tile, unit, to, lane);
  }
  template <int kCols>
  static __device__ __forceinline__ void prepare(const uint8_t* row, int unit, int k, int block,
                                                 uint8_t* at) {
    using Unit = WideUnit<kCols, UnitWide>;
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    typename Format::X x[kSteps];
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const int from = unit * kUnitK + i * kStepK;
      x[i] = Format::no_x();
      if (row != nullptr && from < k) x[i] = Format::load_x(row + from * 2, t);
    }
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      uint32_t b[8];
      Format::permute(x[i], t, b);
      uint8_t* const step = at + Unit::step_at(i);
      keep_operands(b, step, block);
      if constexpr (Format::kAffine)
        each_dot_sum<Format>(b, [&](int dot, const DotSums& sums) {
          if (g == 0)
            *reinterpret_cast<float2*>(step + Unit::kOperands + (dot * kCols + block * 8) * 4 +
                                       t * 8) = make_float2(sums.even, sums.odd);
        });
    }
  }

  struct Unit {
    typename Format::Scales low, high;
    __device__ __forceinline__ Unit(const UnitWide& kind, uint32_t row)
        : low(Format::load_scales(row, kind.rule)),
          high(Format::load_scales(row + 8 * Format::kRowBytes, kind.rule)) {}
  };
  ScaleRule rule;
  bool odd;
  uint32_t seen = 0;  // made of all sums of x that the last fold() has loaded
  __device__ __forceinline__ UnitWide(const Call& call, int weight, bool odd_, int lane)
      : rule(Format::rule(call, lane)), odd(odd_) {
    choose(call, weight);
  }
  /// The weight that is multiplied next.
  __device__ __forceinline__ void choose(const Call& call, int weight) {
    if constexpr (Format::kTensorScale) rule.tensor_scale = call.tensor_scale[weight];
  }

  template <int n>
  __device__ __forceinline__ void begin(float (&)[n / 2], const Unit&, uint32_t) const {}
  /// `sums`: of the dot.
  template <int n>
  __device__ __forceinline__ void fold(float (&chain)[n], const float (&dot)[n], const Unit& unit,
                                       int step, int at, uint32_t sums) {
    const DotScales scales = dot_scales<Format>(unit.low, unit.high, step, at);
#pragma unroll
    for (int i = 0; i < n; i += 4) {
      const float four[4] = {dot[i], dot[i + 1], dot[i + 2], dot[i + 3]};
      float sum[4] = {chain[i], chain[i + 1], chain[i + 2], chain[i + 3]};
      // Eight columns have 32 bytes, as a dot has there.
      const DotSums of_x = load_dot_sums<Format>(sums, i / 4, threadIdx.x % 4);
      seen = (i == 0 ? 0 : seen) ^ __float_as_uint(of_x.even);
      add_dot<Format>(sum, four, of_x, scales, odd);
      chain[i] = sum[0], chain[i + 1] = sum[1], chain[i + 2] = sum[2], chain[i + 3] = sum[3];
    }
  }
};

}  // namespace stepless::kernels::sm90
