// Codes that are numbers, E2M1 and E4M3, as bf16 operands of flat_lone, flat_pair and flat_mid: the
// same as those of sm80/unit_formats.cuh by fewer instructions of the unit for logic, which is the
// one that few rows keep waiting.
#pragma once
#include "kernels/cuda/sm80/unit_formats.cuh"
#include "kernels/cuda/sm90/lone_copies.cuh"

namespace stepless::kernels::sm90 {

/// A lane's codes of a step, in rows g and g + 8.
template <class Format>
struct LoneCodes {
  static constexpr int kDots = Format::kDots, kBits = Format::kCodeBytes / (kUnitK / 8);
  static constexpr int kWords = kBits / 2, kPairs = 16 / kBits;  // of a word
  static constexpr bool kByMatrices = kBits == 4 && kDots == 2;
  uint32_t low[kWords], high[kWords];

  /// Where a lane reads in a warp's ring. Dots of 32 codes of 4 bits are a matrix's rows; of groups
  /// of 16 two lanes have half of each code of a word.
  static __device__ __forceinline__ uint32_t lane_at(int lane) {
    const int g = lane >> 2, t = lane & 3;
    if constexpr (kByMatrices)
      return static_cast<uint32_t>(lane % 16 * Format::kRowBytes + lane / 16 * 16);
    return static_cast<uint32_t>(g * Format::kRowBytes + (kDots == 4 ? t / 2 * 4 : t * kBits));
  }
  /// Bytes of two words of groups of 16.
  static __device__ __forceinline__ uint32_t select(int t) {
    return t % 2 == 0 ? 0x6240u : 0x7351u;
  }
  static __device__ __forceinline__ void load_row(uint32_t at, uint32_t select,
                                                  uint32_t (&words)[kWords]) {
    if constexpr (kDots == 4) {
#pragma unroll
      for (int i = 0; i < 2; ++i)
        words[i] = __byte_perm(load_shared4(at + i * 16), load_shared4(at + i * 16 + 8), select);
    } else {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint2 v = load_shared8(at + i * 32);
        words[2 * i] = v.x, words[2 * i + 1] = v.y;
      }
    }
  }
  static __device__ __forceinline__ LoneCodes load(uint32_t from, int step, uint32_t select) {
    const uint32_t at = from + static_cast<uint32_t>(step * (Format::kCodeBytes / kSteps));
    LoneCodes c;
    if constexpr (kByMatrices) {
      uint32_t words[4];
      load_matrices(words, at);
      c.low[0] = words[0], c.high[0] = words[1], c.low[1] = words[2], c.high[1] = words[3];
    } else {
      load_row(at, select, c.low);
      load_row(at + 8 * Format::kRowBytes, select, c.high);
    }
    return c;
  }
  __device__ __forceinline__ void operand(int j, uint32_t (&a)[4]) const {
    const int word = 2 * j / kPairs, i = 2 * j % kPairs;
    a[0] = CodePairs<kBits>::pair(low[word], i), a[1] = CodePairs<kBits>::pair(high[word], i);
    a[2] = CodePairs<kBits>::pair(low[word], i + 1);
    a[3] = CodePairs<kBits>::pair(high[word], i + 1);
  }
};

}  // namespace stepless::kernels::sm90
