// The other widths of affine weights under flat_few: how a unit of 256 k lies in shared memory. The
// order is that of flat_units.cuh, with x permuted as codes are (sixteen_codes.cuh).
#pragma once
#include "kernels/cuda/sm80/flat_launch.cuh"
#include "kernels/cuda/sm80/sixteen_codes.cuh"

namespace stepless::kernels::sm80 {

template <int kBits_, int kGroup_>
struct WideBits {
  using Type = Bf16;  // of x and scales
  using Sixteen = SixteenCodes<kBits_>;
  static constexpr int kBits = kBits_, kGroup = kGroup_;
  static constexpr int kCodeBytes = kUnitK * kBits / 8;
  static constexpr int kScalesAt = kCodeBytes, kBiasesAt = kScalesAt + 8;
  // Rows 16 bytes apart from a multiple of 32 spread the banks; 16-byte reads of 8 bits want 64.
  static constexpr int kRowBytes = kCodeBytes + (kBits == 8 ? 64 : 16);
  static constexpr int kUnitBytes = kTileRows * kRowBytes;
  static constexpr int kScaleBytes = kUnitK / kGroup * 2;
  using Sums = UnitSums<kGroup>;
  static __device__ __forceinline__ uint32_t word_at(int t) {
    return Sums::word_at(t, kScalesAt, kBiasesAt);
  }
  /// Of a unit's x as operands.
  static __device__ __forceinline__ Sums sums_of(const uint32_t (*x)[8]) {
    return Sixteen::template sums_of<Sums>(x);
  }

  static __device__ __forceinline__ void copy(const FlatWeight& w, int tile, int u, uint32_t to,
                                              int lane) {
    constexpr int kChunks = kCodeBytes / 16;
    const int64_t row_bytes = static_cast<int64_t>(w.k / 8) * kBits;
    const int row0 = tile * kTileRows, last = w.n - 1, row_scales = w.k / kGroup * 2;
    const uint8_t* const from = w.codes + u * kCodeBytes;
#pragma unroll
    for (int j = 0; j < kBits; ++j) {
      const int i = j * 32 + lane, r = i / kChunks, c = i % kChunks * 16;
      copy_async<16>(to + static_cast<uint32_t>(r * kRowBytes + c),
                     from + min(row0 + r, last) * row_bytes + c);
    }
    const int r = lane & 15;
    copy_async<kScaleBytes>(
        to + static_cast<uint32_t>(r * kRowBytes + (lane < 16 ? kScalesAt : kBiasesAt)),
        (lane < 16 ? w.scales : w.biases) + static_cast<int64_t>(min(row0 + r, last)) * row_scales +
            u * kScaleBytes);
  }

  struct Scales {
    RowScales<kGroup> row;
    static __device__ __forceinline__ Scales load(uint32_t row) {
      return {{load_shared8(row + kScalesAt)}};
    }
    __device__ __forceinline__ float scale(int step) const {
      return kBits == 8 ? -row.scale(step) : row.scale(step);  // as codes enter
    }
  };

  struct Codes {
    typename Sixteen::Words low, high;
  };
  static __device__ __forceinline__ uint32_t lane_at(int t) { return Sixteen::lane_at(t); }
  /// `from`: a row's unit and lane_at(t).
  static __device__ __forceinline__ Codes load_from(uint32_t from, int step, int t) {
    const uint32_t at = from + static_cast<uint32_t>(step * (kStepK / 8) * kBits);
    Codes codes;
    Sixteen::load(at, t, codes.low);
    Sixteen::load(at + 8 * kRowBytes, t, codes.high);
    return codes;
  }
  static __device__ __forceinline__ Codes load(uint32_t row, int step, int t) {
    return load_from(row + lane_at(t), step, t);
  }
  template <int kJ>
  static __device__ __forceinline__ void operand_of(const Codes& c, uint32_t (&a)[4]) {
    a[0] = Sixteen::template pair<2 * kJ>(c.low), a[1] = Sixteen::template pair<2 * kJ>(c.high);
    a[2] = Sixteen::template pair<2 * kJ + 1>(c.low);
    a[3] = Sixteen::template pair<2 * kJ + 1>(c.high);
  }
  static __device__ __forceinline__ void to_operand(const Codes& c, int j, uint32_t (&a)[4]) {
    if (j == 0) operand_of<0>(c, a);
    if (j == 1) operand_of<1>(c, a);
    if (j == 2) operand_of<2>(c, a);
    if (j == 3) operand_of<3>(c, a);
  }
  static __device__ __forceinline__ void permute(uint4 p, uint4 q, uint32_t (&b)[8]) {
    Sixteen::permute(p, q, b);
  }
};

/// Twelve warps as in 4 bits; a unit of 8 bits leaves room for ten. Narrow units need more of them
/// on the way.
template <int kBits, int kGroup>
static int32_t launch_width(const FlatCall& call, const CudaContext& context) {
  using Format = WideBits<kBits, kGroup>;
  constexpr int kStages = kBits <= 2 ? 5 : kBits == 3 ? 4 : 3, kWarps = kBits == 8 ? 10 : 12;
  constexpr int kMeeting = kBits == 8 ? 64 << 10 : 80 << 10;
  return call.first().m <= 8 ? launch_few<1, 1, Format, kStages, kWarps * 32, 1>(
                                   call, context, {kWarps, 48 << 10, 1})
                             : launch_few<2, 1, Format, kStages, kWarps * 32, 1>(
                                   call, context, {kWarps, kMeeting, 1});
}

template <int kBits>
static int32_t launch_format_together(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                                      const CudaContext& context) {
  return launch_slices({parts, count, glu}, kTileRows, [&](const FlatCall& call) {
    return call.first().group_size == 64 ? launch_width<kBits, 64>(call, context)
                                         : launch_width<kBits, 128>(call, context);
  });
}

template <int kBits>
static int32_t launch_format(const void* args, const CudaContext& context) {
  return launch_format_together<kBits>(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
}

}  // namespace stepless::kernels::sm80
