// Scales and biases of a chunk of packed pages, for attn_planes.hpp.
#pragma once
#include <immintrin.h>

#include "kernels/cpu/any/attn_few.hpp"
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
/// bits, 4096 positions: 700 instead of 850 us). Keys and values take turns: so the hardware, which
/// follows each of them some twenty lines ahead, is ahead by twice the time, and lines have come
/// before they are asked for (4 bits, 4096 positions: 406 instead of 430 us, 8 bits 670 and 710).
/// Lost: every second line or fourth, hardware following (990, 1020), to the first cache (730 to
/// 750), nothing (1155); eight lines at once (4 bits: 770 instead of 711, in a loop that only reads
/// and multiplies).
class Stream {
 public:
  void begin(const Rows& k, const Rows& v, int64_t positions) {
    const int64_t k_bytes = positions * k.dim * k.bits / 8;
    const int64_t v_bytes = positions * v.dim * v.bits / 8;
    at_ = 0, end_ = least(k_bytes, v_bytes) / 64 * 64;
    k_ = k.next.at, to_v_ = v.next.at - k_ - 32;
    more_ = (k_bytes > v_bytes ? k_ : v.next.at) + end_;
    more_end_ = more_ + most(k_bytes, v_bytes) - end_;
  }

  /// The next `lines` lines, those before them once more if there are less: without a branch, as it
  /// stands amid vectors in registers.
  template <int lines>
  __attribute__((always_inline)) void fetch() {
    const int64_t at = least(at_, end_ - 32 * lines), is_odd = -(at >> 5 & 1);
    const uint8_t* const first = k_ + at + (to_v_ & is_odd);
    const uint8_t* const second = k_ + at + 32 + (to_v_ & ~is_odd);
#pragma GCC unroll 16
    for (int i = 0; i < lines; ++i)
      __builtin_prefetch(i % 2 == 0 ? first + 32 * i : second + 32 * (i - 1), 0, 2);
    at_ = at + 32 * lines;
  }

  void fetch_rest() {
    while (at_ < end_) fetch<1>();
    for (; more_ < more_end_; more_ += 64) __builtin_prefetch(more_, 0, 2);
  }

  /// Scales and biases of the next chunk: two lines of 8 * groups, in as many fours of calls as
  /// there are groups. They are few enough for the first cache.
  __attribute__((always_inline)) static void fetch_groups(const Chunk& chunk, int64_t call) {
    if (chunk.k.next.scales == nullptr) return;
    const int64_t k_lines = 2 * (chunk.k.dim / chunk.k.group);
    const Place& from = call < k_lines ? chunk.k.next : chunk.v.next;
    const int64_t line = 64 * (call < k_lines ? call : call - k_lines);
    __builtin_prefetch(from.scales + line, 0, 3);
    __builtin_prefetch(from.biases + line, 0, 3);
  }

 private:
  const uint8_t* k_ = nullptr;
  int64_t to_v_ = 0;  // from a key's line to the value's, less the half line that it is ahead by
  int64_t at_ = 0, end_ = 0;  // half of the bytes asked for; bytes of each of both
  const uint8_t *more_ = nullptr, *more_end_ = nullptr;  // of whichever has more
};

/// Lines of codes that are asked for beside the parts of a chunk. Requests come as evenly as may
/// be: eight at once wait for each other, and so does whatever comes after them.
template <int bits>
struct Pace {
  static constexpr int kScores = bits == 4 ? 4 : 6;   // 16 positions by 32 bytes
  static constexpr int kSoftmax = bits == 4 ? 4 : 8;  // a third of it
  static constexpr int kWeights = bits == 4 ? 3 : 4;  // half of a group's planes
  template <int first>
  static constexpr int kValues = bits == 4 && first > 0 ? 1 : 2;  // four positions by 64 bytes
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
