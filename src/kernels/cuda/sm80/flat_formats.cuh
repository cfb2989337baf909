// The other widths of affine weights under flat_few: how a unit of 256 k lies in shared memory and
// how its codes become operands. The order is that of flat_units.cuh, with x permuted by halves.
#pragma once
#include "kernels/cuda/sm80/flat_launch.cuh"

namespace stepless::kernels::sm80 {

/// The sums of two pairs of bf16; sm_80 has no add, an fma by 1 has its bits.
static __device__ __forceinline__ uint32_t add_bf16(uint32_t a, uint32_t b) {
  uint32_t result;
  asm("fma.rn.bf16x2 %0,%1,%2,%3;" : "=r"(result) : "r"(a), "r"(0x3f803f80u), "r"(b));
  return result;
}

/// A lane's 16 consecutive codes are two runs of 8, each of kBits bytes: codes i and i + 8 lie at
/// equal bits of the two runs, so one byte permutation puts them 16 bits apart for any width.
template <int kBits, int kGroup>
struct WideBits {
  static constexpr int kCodeBytes = kUnitK * kBits / 8, kWords = (kBits + 1) / 2;
  static constexpr int kScalesAt = kCodeBytes, kBiasesAt = kScalesAt + 8;
  // Rows 16 bytes apart from a multiple of 32 spread the banks; 16-byte reads of 8 bits want 64.
  static constexpr int kRowBytes = kCodeBytes + (kBits == 8 ? 64 : 16);
  static constexpr int kUnitBytes = kTileRows * kRowBytes;
  static constexpr int kScaleBytes = kUnitK / kGroup * 2;
  using Sums = UnitSums<kGroup>;
  // 0: as they are. 128 + q would need nine bits of 8; and where it is the sums of x that take an
  // offset back, a group of zeros gives 1e-11 instead of 0, which 1 and 2 bits can spare.
  static constexpr int kOffset = kBits < 8 && kBits > 2 ? 1 << kBits : 0;
  static __device__ __forceinline__ uint32_t word_at(int t) {
    return Sums::word_at(t, kScalesAt, kBiasesAt);
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
    __device__ __forceinline__ float scale(int step) const { return row.scale(step); }
  };

  struct Codes {
    uint32_t low[kWords], high[kWords];
  };
  /// 16 codes from bit 0 on: where they start in the middle of a word, they are shifted.
  static __device__ __forceinline__ void load_row(uint32_t at, int t, uint32_t (&words)[kWords]) {
    if constexpr (kBits == 8) {
      const uint4 v = load_shared16(at + t * 16);
      words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
    } else {
      const uint32_t bytes = static_cast<uint32_t>(t * 2 * kBits);
#pragma unroll
      for (int i = 0; i < kWords; ++i) words[i] = load_shared4(at + (bytes & ~3u) + i * 4);
      if constexpr (kBits % 2 != 0) {
        const uint32_t shift = bytes % 4 * 8;
#pragma unroll
        for (int i = 0; i < kWords; ++i)
          words[i] = __funnelshift_r(words[i], i + 1 < kWords ? words[i + 1] : 0u, shift);
      }
    }
  }
  static __device__ __forceinline__ Codes load(uint32_t row, int step, int t) {
    const uint32_t at = row + static_cast<uint32_t>(step * (kStepK / 8) * kBits);
    Codes codes;
    load_row(at, t, codes.low);
    load_row(at + 8 * kRowBytes, t, codes.high);
    return codes;
  }

  /// The byte of a run from which 16 bits hold code i, and, where they can, its neighbours.
  static __device__ constexpr int window(int i) {
    int byte = 0;
    for (int j = 1; j <= i; ++j)
      if ((j + 1) * kBits > byte * 8 + 16) byte = j * kBits / 8;
    return byte;
  }
  /// A word that holds bytes kByte and kByte + 1, and where.
  template <int kByte>
  static __device__ __forceinline__ uint32_t word_of(const uint32_t (&words)[kWords]) {
    constexpr int i = kByte / 4;
    if constexpr (place_of(kByte) == kByte % 4)
      return words[i];
    else
      return __funnelshift_r(words[i], words[i + 1], 24);
  }
  static __device__ constexpr uint32_t place_of(int byte) {
    return static_cast<uint32_t>(byte % 4 < 3 || byte / 4 + 1 >= kWords ? byte % 4 : 0);
  }
  /// Codes i and i + 8 as the bf16 values kOffset + q.
  template <int kI>
  static __device__ __forceinline__ uint32_t pair(const uint32_t (&words)[kWords]) {
    constexpr int kByte = window(kI), kShift = kI * kBits - kByte * 8;
    constexpr uint32_t a = place_of(kByte), b = place_of(kByte + kBits) + 4;
    constexpr uint32_t kSelect = a | (a + 1) << 4 | b << 8 | ((b + 1) & 7) << 12;
    constexpr int kPlace = kOffset > 0 ? 7 - kBits : 0;  // of a code in the mantissa
    constexpr uint32_t kMask = ((1u << (kBits < 8 ? kBits : 7)) - 1) << kPlace;
    constexpr uint32_t kPower = kOffset > 0 ? (127u + kBits) << 7 : 0x4300u;
    const uint32_t both =
        __byte_perm(word_of<kByte>(words), word_of<kByte + kBits>(words), kSelect);
    const uint32_t placed = kShift < kPlace ? both << (kPlace - kShift) : both >> (kShift - kPlace);
    const uint32_t code = and_or(placed, kMask | kMask << 16, kPower | kPower << 16);
    if constexpr (kOffset > 0) return code;
    // 128 + q, of 8 bits without their top one, less 128 where that is not set: exact.
    const uint32_t less =
        kBits < 8 ? 0xC300C300u : ((placed & 0x00800080u) ^ 0x00800080u) * (0xC300 / 0x80);
    return add_bf16(code, less);
  }
  template <int kJ>
  static __device__ __forceinline__ void operand_of(const Codes& c, uint32_t (&a)[4]) {
    a[0] = pair<2 * kJ>(c.low), a[1] = pair<2 * kJ>(c.high);
    a[2] = pair<2 * kJ + 1>(c.low), a[3] = pair<2 * kJ + 1>(c.high);
  }
  static __device__ __forceinline__ void to_operand(const Codes& c, int j, uint32_t (&a)[4]) {
    if (j == 0) operand_of<0>(c, a);
    if (j == 1) operand_of<1>(c, a);
    if (j == 2) operand_of<2>(c, a);
    if (j == 3) operand_of<3>(c, a);
  }
  static __device__ __forceinline__ void permute(uint4 p, uint4 q, uint32_t (&b)[8]) {
    b[0] = __byte_perm(p.x, q.x, 0x5410), b[1] = __byte_perm(p.x, q.x, 0x7632);
    b[2] = __byte_perm(p.y, q.y, 0x5410), b[3] = __byte_perm(p.y, q.y, 0x7632);
    b[4] = __byte_perm(p.z, q.z, 0x5410), b[5] = __byte_perm(p.z, q.z, 0x7632);
    b[6] = __byte_perm(p.w, q.w, 0x5410), b[7] = __byte_perm(p.w, q.w, 0x7632);
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
