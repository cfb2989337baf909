// Scales and biases of a chunk of packed pages, for attn_planes.hpp.
#pragma once
#include <immintrin.h>

#include "kernels/cpu/any/attn_rows.hpp"
#include "kernels/cpu/any/byte_scale.hpp"

namespace stepless::kernels {
namespace {

constexpr int64_t kMostGroups = kMaxHeadDim / kLeastGroup;

/// The bits of the largest magnitude, without its sign.
inline uint32_t largest_bits(__m512 lanes) {
  return _mm512_reduce_max_epu32(
      _mm512_and_si512(_mm512_castps_si512(lanes), _mm512_set1_epi32(INT32_MAX)));
}

/// The codes of the next chunk, prefetched to the second cache while this one is computed. A core
/// has sixteen lines on their way at most, and what it reads from the second cache needs them as
/// well: so requests are spread over all that a chunk takes, not over what reads codes alone (8
/// bits, 4096 positions: 700 instead of 850 us). Lost: every second line or fourth, hardware
/// following (990, 1020), to the first cache (730 to 750), nothing (1155). Finer shares changed
/// nothing.
class Stream {
 public:
  void begin(const Rows& k, const Rows& v, int64_t positions) {
    k_end_ = positions * k.dim * k.bits / 8;
    end_ = k_end_ + positions * v.dim * v.bits / 8;
    k_ = k.next.at, v_ = v.next.at - k_end_;
    at_ = 0;
  }

  /// The next `lines` lines, without a branch: it stands amid vectors in registers.
  void fetch(int lines) {
#pragma GCC unroll 16
    for (int i = 0; i < lines; ++i, at_ += 64)
      __builtin_prefetch((at_ < k_end_ ? k_ : v_) + at_, 0, 2);
    at_ = least(at_, end_);
  }

  void fetch_rest() {
    while (at_ < end_) fetch(1);
  }

  /// Scales and biases.
  static void fetch_groups(const Rows& rows, int64_t positions) {
    if (rows.next.scales == nullptr) return;
    const int64_t bytes = 2 * positions * (rows.dim / rows.group);
    for (int64_t i = 0; i < bytes; i += 64) {
      __builtin_prefetch(rows.next.scales + i, 0, 2);
      __builtin_prefetch(rows.next.biases + i, 0, 2);
    }
  }

 private:
  const uint8_t *k_ = nullptr, *v_ = nullptr;
  int64_t k_end_ = 0, end_ = 0, at_ = 0;
};

/// (groups, kChunk): what vectors of positions meet.
template <DType type>
struct GroupRows {
  alignas(64) float scales[kMostGroups * kChunk], biases[kMostGroups * kChunk];

  static __m512 low_halves(__m512i pairs) {
    if constexpr (type == DType::bf16) return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(pairs));
  }
  static __m512 high_halves(__m512i pairs) {
    if constexpr (type == DType::bf16)
      return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(-65536)));
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(pairs, 16)));
  }

  /// Two groups of sixteen positions from their pairs.
  static void store_pair(__m512i pairs, float* to) {
    _mm512_store_ps(to, low_halves(pairs));
    _mm512_store_ps(to + kChunk, high_halves(pairs));
  }

  /// Turns (positions, groups) to (groups, kChunk).
  static void turn(const uint8_t* from, int64_t positions, int64_t groups, float* to) {
    if (groups != 1 && groups != 2 && groups != 4) {
      for (int64_t j = 0; j < positions; ++j)
        for (int64_t g = 0; g < groups; ++g)
          widen(element(from, type, j * groups + g), type, 1, to + g * kChunk + j);
      return;
    }
    for (int64_t j = 0; j < positions; j += 16, to += 16, from += 32 * groups) {
      const auto mask =
          static_cast<__mmask16>(positions - j >= 16 ? 0xFFFF : (1 << (positions - j)) - 1);
      if (groups == 1) {
        const __m256i codes = _mm256_maskz_loadu_epi16(mask, from);
        _mm512_store_ps(to, low_halves(_mm512_cvtepu16_epi32(codes)));
      } else if (groups == 2) {
        store_pair(_mm512_maskz_loadu_epi32(mask, from), to);
      } else {
        const __m512i a = _mm512_maskz_loadu_epi64(static_cast<__mmask8>(mask), from);
        const __m512i b = _mm512_maskz_loadu_epi64(static_cast<__mmask8>(mask >> 8), from + 64);
        const __m512i evens =
            _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        const __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
        store_pair(_mm512_permutex2var_epi32(a, evens, b), to);
        store_pair(_mm512_permutex2var_epi32(a, odds, b), to + 2 * kChunk);
      }
    }
  }

  /// Those of the first `positions` of a chunk.
  void read(const Rows& rows, int64_t positions) {
    turn(rows.here.scales, positions, rows.dim / rows.group, scales);
    turn(rows.here.biases, positions, rows.dim / rows.group, biases);
  }
};

}  // namespace
}  // namespace stepless::kernels
