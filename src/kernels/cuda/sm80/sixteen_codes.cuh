// A lane's 16 consecutive codes of a row, for any width of affine weights but 4: how their words
// become eight registers of A operands, two codes each, and how x stands beside them.
#pragma once
#include "kernels/cuda/sm80/flat_units.cuh"
#include "kernels/cuda/sm80/number_types.cuh"

namespace stepless::kernels::sm80 {

/// For one width: `Words` that load() reads from lane_at(t) of a step on; pair<i>(words), register
/// i as the numbers q + offset; permute(), which puts x beside them; sums_of(), a unit's sums of x
/// and of x times offsets.
template <int kBits>
struct SixteenCodes;

/// Less an offset, exactly: where it is the sums of x that take it back, a group of zeros gives
/// 1e-11 instead of 0, which 1 and 2 bits can spare.
static __device__ __forceinline__ uint32_t without(uint32_t code, uint32_t offset) {
  return Bf16::fma2(code, Bf16::kOnes, offset | 0x80008000u);
}

/// Codes i and i + 8 stand in register i. Sums of x take back kOffset, the same for all.
template <int kWords_, int kOffset>
struct HalvesOfSixteen {
  static constexpr int kWords = kWords_;
  using Words = uint32_t[kWords];

  template <class Sums>
  static __device__ __forceinline__ Sums sums_of(const uint32_t (*x)[8]) {
    return Sums::template of<kOffset>(x);
  }
  static __device__ __forceinline__ void permute(uint4 p, uint4 q, uint32_t (&b)[8]) {
    b[0] = __byte_perm(p.x, q.x, 0x5410), b[1] = __byte_perm(p.x, q.x, 0x7632);
    b[2] = __byte_perm(p.y, q.y, 0x5410), b[3] = __byte_perm(p.y, q.y, 0x7632);
    b[4] = __byte_perm(p.z, q.z, 0x5410), b[5] = __byte_perm(p.z, q.z, 0x7632);
    b[6] = __byte_perm(p.w, q.w, 0x5410), b[7] = __byte_perm(p.w, q.w, 0x7632);
  }
};

/// Two bytes, side by side in the halves of a word: four pairs share a shift, as 16, 8, 4, 2 + q.
template <>
struct SixteenCodes<1> : HalvesOfSixteen<1, 0> {
  static __device__ constexpr uint32_t offset(int i) { return 0x41804180u - i % 4 * 0x00800080u; }
  static __device__ __forceinline__ uint32_t lane_at(int t) {
    return static_cast<uint32_t>(t * 2) & ~3u;
  }
  static __device__ __forceinline__ void load(uint32_t at, int t, Words& words) {
    words[0] = __byte_perm(load_shared4(at), 0, t % 2 != 0 ? 0x4342u : 0x4140u);
  }
  template <int kI>
  static __device__ __forceinline__ uint32_t pair(const Words& words) {
    const uint32_t placed = kI < 4 ? words[0] << 3 : words[0] >> 1;
    return without(and_or(placed, 0x00080008u << kI % 4, offset(kI)), offset(kI));
  }
};

/// A word is all 16. Codes i and i + 8 lie 16 bits apart, and two pairs share a shift: as 16 + q
/// and 4 + q, whose places in the mantissa are two bits apart. Twelve instructions,
/// and eight fma.
template <>
struct SixteenCodes<2> : HalvesOfSixteen<1, 0> {
  static __device__ constexpr uint32_t offset(int i) {
    return i % 2 == 0 ? 0x41804180u : 0x40804080u;
  }
  static __device__ __forceinline__ uint32_t lane_at(int t) { return static_cast<uint32_t>(t * 4); }
  static __device__ __forceinline__ void load(uint32_t at, int, Words& words) {
    words[0] = load_shared4(at);
  }
  template <int kI>
  static __device__ __forceinline__ uint32_t pair(const Words& words) {
    constexpr int kShift = kI / 2 * 4 - 3;
    const uint32_t placed =
        kShift < 0 ? words[0] << -kShift : words[0] >> (kShift < 0 ? 0 : kShift);
    const uint32_t mask = kI % 2 == 0 ? 0x00180018u : 0x00600060u;
    return without(and_or(placed, mask, offset(kI)), offset(kI));
  }
};

/// Six bytes, three halves of a word, of which the last begins with a bit of code 10. Halves 0 and
/// 2 side by side pair codes i and 11 + i (i < 5), one bit apart: 16 + q and 8 + q. Codes 5, 6, 7
/// and 8, 9, 10 are 9 bits apart and get a word of their own, as 8 + q. Eighteen instructions.
template <>
struct SixteenCodes<3> {
  static constexpr int kWords = 2;
  using Words = uint32_t[kWords];

  template <class Sums>
  static __device__ __forceinline__ Sums sums_of(const uint32_t (*x)[8]) {
    return Sums::template weighted<SixteenCodes>(x);
  }
  static __device__ constexpr uint32_t offsets(int i) { return i < 5 ? 0x41004180u : 0x41004100u; }
  static __device__ __forceinline__ uint32_t lane_at(int t) {
    return static_cast<uint32_t>(t * 6) & ~3u;
  }
  /// The words of the two kinds of pairs.
  static __device__ __forceinline__ void load(uint32_t at, int t, Words& words) {
    const uint32_t low = load_shared4(at), high = load_shared4(at + 4);
    const bool odd = t % 2 != 0;  // they begin in the middle of a word
    words[0] = __byte_perm(low, high, odd ? 0x7632u : 0x5410u);
    words[1] = __byte_perm(__funnelshift_r(low, high, odd ? 27 : 11),
                           __funnelshift_r(low, high, odd ? 20 : 4), 0x7610u);
  }
  template <int kI>
  static __device__ __forceinline__ uint32_t pair(const Words& words) {
    constexpr int kShift = kI < 5 ? 3 * kI - 3 : 3 * (kI - 5);
    const uint32_t word = words[kI < 5 ? 0 : 1];
    const uint32_t placed = kShift < 0 ? word << -kShift : word >> (kShift < 0 ? 0 : kShift);
    return and_or(placed, kI < 5 ? 0x00700038u : 0x00700070u, offsets(kI));
  }
  static __device__ __forceinline__ void permute(uint4 p, uint4 q, uint32_t (&b)[8]) {
    b[0] = __byte_perm(p.x, q.y, 0x7610), b[1] = __byte_perm(p.x, q.z, 0x5432);
    b[2] = __byte_perm(p.y, q.z, 0x7610), b[3] = __byte_perm(p.y, q.w, 0x5432);
    b[4] = __byte_perm(p.z, q.w, 0x7610), b[5] = __byte_perm(p.z, q.x, 0x5432);
    b[6] = __byte_perm(p.w, q.x, 0x7610), b[7] = __byte_perm(p.w, q.y, 0x5432);
  }
};

/// Ten bytes. Codes i and i + 3 lie 15 bits apart: one shift makes 32 + q and 64 + q of them, by
/// seven of which all are paired but 13 and 14.
template <>
struct SixteenCodes<5> {
  static constexpr int kWords = 3;
  using Words = uint32_t[kWords];

  template <class Sums>
  static __device__ __forceinline__ Sums sums_of(const uint32_t (*x)[8]) {
    return Sums::template weighted<SixteenCodes>(x);
  }
  static __device__ constexpr uint32_t offsets(int i) { return i < 7 ? 0x42804200u : 0x42004200u; }
  static __device__ __forceinline__ uint32_t lane_at(int t) {
    return static_cast<uint32_t>(t * 10) & ~3u;
  }
  static __device__ __forceinline__ void load(uint32_t at, int t, Words& words) {
    const uint32_t low = load_shared4(at), mid = load_shared4(at + 4), high = load_shared4(at + 8);
    const uint32_t shift = t % 2 != 0 ? 16 : 0;  // they begin in the middle of a word
    words[0] = __funnelshift_r(low, mid, shift), words[1] = __funnelshift_r(mid, high, shift);
    words[2] = high >> shift;
  }
  template <int kI>
  static __device__ __forceinline__ uint32_t pair(const Words& words) {
    if constexpr (kI == 7)
      return and_or(__byte_perm(words[2] << 1, words[2] << 12, 0x7610), 0x007c007cu, offsets(kI));
    constexpr int kCode = kI / 3 * 6 + kI % 3, kFrom = kCode * 5 - 2, kWord = (kFrom + 2) / 32;
    constexpr int kShift = kFrom - kWord * 32;
    uint32_t placed;
    if constexpr (kShift < 0)
      placed = words[kWord] << -kShift;
    else if constexpr (kShift > 16)
      placed = __funnelshift_r(words[kWord], words[kWord + 1], kShift);
    else
      placed = words[kWord] >> kShift;
    return and_or(placed, 0x003e007cu, offsets(kI));
  }
  static __device__ __forceinline__ void permute(uint4 p, uint4 q, uint32_t (&b)[8]) {
    b[0] = __byte_perm(p.x, p.y, 0x7610), b[1] = __byte_perm(p.x, p.z, 0x5432);
    b[2] = __byte_perm(p.y, p.z, 0x7610), b[3] = __byte_perm(p.w, q.x, 0x7610);
    b[4] = __byte_perm(p.w, q.y, 0x5432), b[5] = __byte_perm(q.x, q.y, 0x7610);
    b[6] = __byte_perm(q.z, q.w, 0x7610), b[7] = __byte_perm(q.z, q.w, 0x5432);
  }
};

/// Two runs of 8, each of six bytes: codes i and i + 8 lie at equal bits of the two runs, so one
/// byte permutation puts them 16 bits apart, as 64 + q.
template <>
struct SixteenCodes<6> : HalvesOfSixteen<3, 1 << 6> {
  static constexpr int kBits = 6;
  static __device__ __forceinline__ uint32_t lane_at(int t) {
    return static_cast<uint32_t>(t * 2 * kBits);
  }
  static __device__ __forceinline__ void load(uint32_t at, int, Words& words) {
#pragma unroll
    for (int i = 0; i < kWords; ++i) words[i] = load_shared4(at + i * 4);
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
  static __device__ __forceinline__ uint32_t word_of(const Words& words) {
    constexpr int i = kByte / 4;
    if constexpr (place_of(kByte) == kByte % 4)
      return words[i];
    else
      return __funnelshift_r(words[i], words[i + 1], 24);
  }
  static __device__ constexpr uint32_t place_of(int byte) {
    return static_cast<uint32_t>(byte % 4 < 3 || byte / 4 + 1 >= kWords ? byte % 4 : 0);
  }
  template <int kI>
  static __device__ __forceinline__ uint32_t pair(const Words& words) {
    constexpr int kByte = window(kI), kShift = kI * kBits - kByte * 8;
    constexpr uint32_t a = place_of(kByte), b = place_of(kByte + kBits) + 4;
    constexpr uint32_t kSelect = a | (a + 1) << 4 | b << 8 | ((b + 1) & 7) << 12;
    constexpr int kPlace = 1;  // of a code in the mantissa
    const uint32_t both =
        __byte_perm(word_of<kByte>(words), word_of<kByte + kBits>(words), kSelect);
    const uint32_t placed = kShift < kPlace ? both << (kPlace - kShift) : both >> (kShift - kPlace);
    return and_or(placed, 0x007e007eu, 0x42804280u);
  }
};

/// Bytes i and i + 2 as bf16, -q: behind 0xC3 they are the value v = -128 - q or, from 128 on, -2
/// q; so -q = v / 2 + max(v / 2 + 128, 0), all of it exact. q itself would take one more
/// instruction, as operands of a sum have no signs of their own.
static __device__ __forceinline__ uint32_t minus_bytes(uint32_t four, int i) {
  const uint32_t v = __byte_perm(four, 0xC3C3C3C3u, i % 2 == 0 ? 0x4240u : 0x4341u);
  constexpr uint32_t kHalf = 0x3F003F00u, k128 = 0x43004300u;
  uint32_t more;
  asm("fma.rn.relu.bf16x2 %0,%1,%2,%3;" : "=r"(more) : "r"(v), "r"(kHalf), "r"(k128));
  return Bf16::fma2(v, kHalf, more);
}

/// Codes i and i + 8 as -q, which scales take back (WideBits::Scales).
template <>
struct SixteenCodes<8> : HalvesOfSixteen<4, 0> {
  static __device__ __forceinline__ uint32_t lane_at(int t) {
    return static_cast<uint32_t>(t * 16);
  }
  static __device__ __forceinline__ void load(uint32_t at, int, Words& words) {
    const uint4 v = load_shared16(at);
    words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
  }
  template <int kI>
  static __device__ __forceinline__ uint32_t pair(const Words& words) {
    // Bytes of codes 2j, 2j + 1 and those 8 further: one permutation for two pairs.
    constexpr uint32_t kFour = kI % 4 < 2 ? 0x5410 : 0x7632;
    return minus_bytes(__byte_perm(words[kI / 4], words[kI / 4 + 2], kFour), kI);
  }
};

}  // namespace stepless::kernels::sm80
