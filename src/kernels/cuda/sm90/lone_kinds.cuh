// What flat_lone and flat_pair ask of a kind of weights. BySums: affine ones, with the sums of x in
// front of their steps (order mma_k512). ByDots: codes that are numbers, with a scale for each
// group's dot (order mma_units). Both hand chains on and add parts in the same way.
#pragma once
#include "kernels/cuda/sm80/flat_formats.cuh"
#include "kernels/cuda/sm90/lone_codes.cuh"

namespace stepless::kernels::sm90 {

/// A Format of flat_few. Of a lane: where rows g and g + 8 lie in the warp's ring, their codes,
/// their words of scales and biases; the sums of x.
template <class Format_>
struct BySums {
  using Format = Format_;
  using Codes = typename Format::Codes;
  using Weights = FlatWeights;
  static constexpr int kBits = Format::kBits, kGroup = Format::kGroup, kDots = 1;
  static constexpr int kRowBytes = Format::kRowBytes, kUnitBytes = Format::kUnitBytes;
  static constexpr int kScalesAt = Format::kScalesAt, kScaleSize = 2;
  static constexpr int kScaleBytes = Format::kScaleBytes;  // that a lane copies
  static constexpr int kSideBytes = 512;                   // of a warp, beside its ring
  static constexpr bool kTakesNorm = true, kTensorScale = false;

  const uint32_t rows, codes, words, sums;
  const int t;

  /// Steps that flat_lone multiplies side by side, of those that 4 bits do: longer codes would
  /// spill (8192 x 3072 of 8 bits at eight rows: 10.6 us on an H200 instead of 10.1).
  static constexpr int together(int wish) { return kBits > 4 && wish > 2 ? 2 : wish; }
  __device__ __forceinline__ BySums(const Weights&, const LoneTiles&, uint32_t ring, uint32_t side,
                                    int lane)
      : rows(kept(ring + lane / 4 * kRowBytes)),
        codes(kept(ring + lane / 4 * kRowBytes + Format::lane_at(lane & 3))),
        words(kept(ring + lane / 4 * kRowBytes + word_at(lane & 3))),
        sums(kept(side + lane * 16)),
        t(lane & 3) {}
  /// Where a row has the lane's word of scales or biases (UnitSums): they lie side by side.
  static __device__ __forceinline__ uint32_t word_at(int t) {
    return Format::Sums::word_at(t, kScalesAt, kScalesAt + kScaleBytes);
  }
  /// What a lane copies of a row: lanes from 16 on biases.
  static __device__ __forceinline__ const uint8_t* scales_of(const FlatWeight& w, int lane) {
    return lane < 16 ? w.scales : w.biases;
  }

  /// A column's x of a step as it lies in memory; then as B operands.
  static __device__ __forceinline__ void load_x(const uint8_t* from, int t, uint32_t (&x)[8]) {
    const uint4 p = load_input16(from + t * 32), q = load_input16(from + t * 32 + 16);
    x[0] = p.x, x[1] = p.y, x[2] = p.z, x[3] = p.w;
    x[4] = q.x, x[5] = q.y, x[6] = q.z, x[7] = q.w;
  }
  static __device__ __forceinline__ void permute(uint32_t (&x)[8], int) {
    Format::permute(make_uint4(x[0], x[1], x[2], x[3]), make_uint4(x[4], x[5], x[6], x[7]), x);
  }
  __device__ __forceinline__ void keep_sums(const uint32_t (*x)[8]) const {
    Format::sums_of(x).keep(sums);
  }

  __device__ __forceinline__ Codes load(uint32_t place, int step) const {
    return Format::load_from(codes + place, step, t);
  }
  static __device__ __forceinline__ void to_operand(const Codes& c, int j, uint32_t (&a)[4]) {
    Format::to_operand(c, j, a);
  }
  __device__ __forceinline__ void turn_back() {}
  __device__ __forceinline__ void turn_to(int) {}

  /// What belongs to one tile's unit, in the order of the calls; kTogether: steps of a multiply.
  template <int kTogether>
  struct Tile {
    uint32_t low_word, high_word;
    typename Format::Scales low, high;

    __device__ __forceinline__ void fetch(const BySums&, uint32_t) {}
    __device__ __forceinline__ void decode(const BySums&) {}
    __device__ __forceinline__ void load_words(const BySums& kind, uint32_t place) {
      low_word = load_shared4(kind.words + place);
      high_word = load_shared4(kind.words + place + 8 * kRowBytes);
    }
    __device__ __forceinline__ void load_scales(const BySums& kind, uint32_t place) {
      low = Format::Scales::load(kind.rows + place);
      high = Format::Scales::load(kind.rows + place + 8 * kRowBytes);
    }
    __device__ __forceinline__ void load_decoded(const BySums&, int) {}
    __device__ __forceinline__ void add_sums(const BySums& kind, float (&acc)[4]) const {
      Format::Sums::kept(kind.sums).add_to(acc, low_word, high_word);
    }
    /// Step i of those from i0 on.
    __device__ __forceinline__ void add(float (&acc)[4], int i0, int i,
                                        const float (&dot)[1][4]) const {
      add_step(acc, dot[0], low.scale(i0 + i), high.scale(i0 + i));
    }
  };
};

template <bool kTensorScale>
struct DotWeights : FlatWeights {};
template <>
struct DotWeights<true> : FlatWeights {
  float tensor_scale[kMostTogether];
};

/// Of a call, as a kernel takes them.
template <class Weights>
static Weights weights_as(const FlatCall& call) {
  Weights weights{};
  static_cast<FlatWeights&>(weights) = weights_of(call, 1);
  if constexpr (requires { weights.tensor_scale; })
    for (int64_t i = 0; i < call.count; ++i) weights.tensor_scale[i] = call.parts[i].tensor_scale;
  return weights;
}

static __device__ __forceinline__ uint32_t load_input4(const void* from) {
  uint32_t v;
  asm volatile("ld.global.u32 %0,[%1];" : "=r"(v) : "l"(from) : "memory");
  return v;
}

/// A UnitFormat of bf16. A unit's scales are decoded once, by way of shared memory: a lane has half
/// a row's. Of a lane: where its codes of row g lie in the ring, the scales that it decodes, where
/// those go, and where row g's are then.
template <class Format_>
struct ByDots {
  using Format = Format_;
  using Codes = LoneCodes<Format>;
  using Decoded = DecodedScales<Format>;
  static constexpr bool kTakesNorm = false, kTensorScale = Format::kTensorScale;
  using Weights = DotWeights<kTensorScale>;
  static constexpr int kDots = Format::kDots, kGroup = kStepK / kDots;
  static constexpr int kBits = Codes::kBits;
  static constexpr int kRowBytes = Format::kRowBytes, kUnitBytes = Format::kUnitBytes;
  static constexpr int kScalesAt = Format::kScalesAt, kScaleSize = 1;
  static constexpr int kScaleBytes = kUnitK / kGroup / 2;  // that a lane copies, half a row's
  static constexpr int kSideBytes = Decoded::kBytes;
  static_assert(!Format::Type::kHalf && !Format::kAffine && kSideBytes % 128 == 0);

  const Weights& w;
  const LoneTiles& tiles;
  const uint32_t codes, scales, to, from, select;
  float times = 1;  // the tensor's scale, until tile `until`
  int until = 0;

  /// Four dots: more of them leave no registers.
  static constexpr int together(int) { return 4 / kDots; }
  __device__ __forceinline__ ByDots(const Weights& weights, const LoneTiles& all, uint32_t ring,
                                    uint32_t side, int lane)
      : w(weights),
        tiles(all),
        codes(kept(ring + Codes::lane_at(lane))),
        scales(kept(ring + half_at(lane))),
        to(kept(side + decoded_at(lane))),
        from(kept(side + lane / 4 * Decoded::kRowBytes)),
        select(Codes::select(lane & 3)) {}
  static __device__ __forceinline__ const uint8_t* scales_of(const FlatWeight& w, int lane) {
    return w.scales + lane / 16 * kScaleBytes;
  }

  /// Half a row's scales: where a unit has the lane's, and where they are when decoded.
  using HalfScales = uint32_t[kDots / 2];
  static __device__ __forceinline__ int half_at(int lane) {
    return lane / 2 * kRowBytes + kScalesAt + lane % 2 * kScaleBytes;
  }
  static __device__ __forceinline__ int decoded_at(int lane) {
    return lane / 2 * Decoded::kRowBytes + lane % 2 * kScaleBytes * 4;
  }
  static __device__ __forceinline__ void load_half(uint32_t from, HalfScales& bytes) {
    if constexpr (kDots == 4) {
      const uint2 v = load_shared8(from);
      bytes[0] = v.x, bytes[1] = v.y;
    } else {
      bytes[0] = load_shared4(from);
    }
  }
  static __device__ __forceinline__ void decode_half(const HalfScales& bytes, float times,
                                                     uint32_t to) {
#pragma unroll
    for (int i = 0; i < kDots / 2; ++i) {
      float four[4];
      if constexpr (kTensorScale) {
        const float2 a = e4m3_times(bytes[i], times), b = e4m3_times(bytes[i] >> 16, times);
        four[0] = a.x, four[1] = a.y, four[2] = b.x, four[3] = b.y;
      } else {
        const PowerScales powers{make_uint2(bytes[i], 0)};
#pragma unroll
        for (int j = 0; j < 4; ++j) four[j] = powers.scale(j);
      }
      store_sums(to + i * 16, four);
    }
  }

  static __device__ __forceinline__ void load_x(const uint8_t* from, int t, uint32_t (&x)[8]) {
    if constexpr (kDots == 4) {  // half of what UnitFormat would load, which were 16 registers
#pragma unroll
      for (int h = 0; h < 4; ++h) {
        const uint8_t* const at = from + h * 32 + t / 2 * 16 + t % 2 * 4;
        x[2 * h] = load_input4(at), x[2 * h + 1] = load_input4(at + 8);
      }
    } else {
      const typename Format::X all = Format::load_x(from, t);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        x[4 * h] = all.run[h].x, x[4 * h + 1] = all.run[h].y;
        x[4 * h + 2] = all.run[h].z, x[4 * h + 3] = all.run[h].w;
      }
    }
  }
  static __device__ __forceinline__ void permute(uint32_t (&x)[8], int t) {
    if constexpr (kDots == 4) {
#pragma unroll
      for (int h = 0; h < 4; ++h) {
        const uint32_t first = x[2 * h], second = x[2 * h + 1];
        x[2 * h] = __byte_perm(first, second, 0x5410);
        x[2 * h + 1] = __byte_perm(first, second, 0x7632);
      }
    } else {
      Format::permute({{make_uint4(x[0], x[1], x[2], x[3]), make_uint4(x[4], x[5], x[6], x[7])}}, t,
                      x);
    }
  }
  __device__ __forceinline__ void keep_sums(const uint32_t (*)[8]) const {}

  __device__ __forceinline__ Codes load(uint32_t place, int step) const {
    return Codes::load(codes + place, step, select);
  }
  static __device__ __forceinline__ void to_operand(const Codes& c, int j, uint32_t (&a)[4]) {
    c.operand(j, a);
  }
  /// Before the block's tile `tile` is multiplied: weights have scales of their own. Tiles follow
  /// in order, or from any one on again.
  __device__ __forceinline__ void turn_back() { until = 0; }
  __device__ __forceinline__ void turn_to(int tile) {
    if constexpr (kTensorScale) {
      if (tile < until) return;
      const int weight = w.gated ? ((threadIdx.x & 31) < 16 ? 0 : 1) : tiles.tile(tile).weight;
      times = w.tensor_scale[weight];
      until = w.gated ? 0x7fffffff : w.end[weight] - tiles.first;
    }
  }

  template <int kTogether>
  struct Tile {
    static_assert(kTogether * kDots % 4 == 0);
    HalfScales bytes;
    float low[kTogether * kDots], high[kTogether * kDots];

    __device__ __forceinline__ void fetch(const ByDots& kind, uint32_t place) {
      load_half(kind.scales + place, bytes);
    }
    __device__ __forceinline__ void decode(const ByDots& kind) const {
      decode_half(bytes, kind.times, kind.to);
    }
    __device__ __forceinline__ void load_words(const ByDots&, uint32_t) {}
    __device__ __forceinline__ void load_scales(const ByDots&, uint32_t) {}
    /// Those of steps i0 and on.
    __device__ __forceinline__ void load_decoded(const ByDots& kind, int i0) {
      if (i0 == 0) __syncwarp();
#pragma unroll
      for (int i = 0; i < kTogether * kDots; i += 4) {
        const uint32_t at = kind.from + (i0 * kDots + i) * 4;
        float four[4];
        load_sums(at, four);
        low[i] = four[0], low[i + 1] = four[1], low[i + 2] = four[2], low[i + 3] = four[3];
        load_sums(at + 8 * Decoded::kRowBytes, four);
        high[i] = four[0], high[i + 1] = four[1], high[i + 2] = four[2], high[i + 3] = four[3];
      }
    }
    __device__ __forceinline__ void add_sums(const ByDots&, float (&)[4]) const {}
    __device__ __forceinline__ void add(float (&acc)[4], int, int i,
                                        const float (&dot)[kDots][4]) const {
#pragma unroll
      for (int d = 0; d < kDots; ++d)
        add_step(acc, dot[d], low[i * kDots + d], high[i * kDots + d]);
    }
  };
};

/// The products of some steps side by side: those of one alone wait 33 cycles for each other.
template <class Kind, int kTogether>
static __device__ __forceinline__ void multiply_steps(const typename Kind::Codes (&c)[kTogether],
                                                      const uint32_t (*x)[8],
                                                      float (&dot)[kTogether][Kind::kDots][4]) {
  constexpr int kProducts = 4 / Kind::kDots;
#pragma unroll
  for (int j = 0; j < 4; ++j)
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      uint32_t a[4];
      Kind::to_operand(c[i], j, a);
      add_product<typename Kind::Format::Type>(dot[i][j / kProducts], j % kProducts == 0, a,
                                               x[i][2 * j], x[i][2 * j + 1]);
    }
}

}  // namespace stepless::kernels::sm90
