// 64 packed codes of a weight row as four vectors of 16-bit integers. Codes 0 to 31 fill the lower
// halves, 32 to 63 the upper; in which order is the width's own, and prepared x has the same one.
// Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx2/numbers.hpp"

namespace stepless::kernels {

/// The code that 16-bit lane `lane` of vector t holds.
template <int kBits>
static constexpr int code_at(int t, int lane) {
  if (kBits == 1) return lane / 8 * 32 + t / 2 * 16 + t % 2 * 8 + lane % 8;
  if (kBits == 6) return lane / 8 * 32 + (lane + t / 2) % 2 * 16 + lane % 8 / 2 * 4 + t;
  if (kBits >= 5) return lane / 8 * 32 + t / 2 * 16 + lane % 8 * 2 + t % 2;
  return 4 * lane + t;  // eight neighbours share a 32-bit lane, so groups of 16 lie apart
}

/// A comparison makes -1 of a set bit: one-bit codes come negated, and prepared x is as well.
static constexpr bool negated(int bits) { return bits == 1; }

/// What unpacked E2M1 is multiplied by: twice an element is an integer of a byte, and that stands
/// in the upper one.
static constexpr float kE2m1Times = 512;

static inline __m256i load_halves(const uint8_t* low, const uint8_t* high) {
  return _mm256_inserti128_si256(
      _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low))),
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(high)), 1);
}

/// How to give each of 8 lanes per half its kWidth bits of a stream: two bytes, and a factor that
/// moves the bits to the top. The halves' streams begin at bytes kLow and kHigh.
template <int kWidth, int kLow, int kHigh>
struct LaneBits {
  alignas(32) uint8_t pick[32] = {};
  alignas(32) uint16_t lift[16] = {};
  constexpr LaneBits() {
    for (int lane = 0; lane < 16; ++lane) {
      const int bit = lane % 8 * kWidth, from = bit / 8 + (lane < 8 ? kLow : kHigh);
      pick[2 * lane] = static_cast<uint8_t>(from);
      pick[2 * lane + 1] = static_cast<uint8_t>(from + 1);
      lift[lane] = static_cast<uint16_t>(1 << (16 - kWidth - bit % 8));
    }
  }
};

template <int kWidth, int kLow, int kHigh>
static inline __m256i lane_bits(__m256i bytes) {
  static constexpr LaneBits<kWidth, kLow, kHigh> kLanes;
  const __m256i pick = _mm256_load_si256(reinterpret_cast<const __m256i*>(kLanes.pick));
  const __m256i lift = _mm256_load_si256(reinterpret_cast<const __m256i*>(kLanes.lift));
  return _mm256_mullo_epi16(_mm256_shuffle_epi8(bytes, pick), lift);
}

static inline void unpack_1(const uint8_t* at, __m256i* q) {
  int64_t bits = 0;
  memcpy(&bits, at, 8);
  const __m256i all = _mm256_set1_epi64x(bits);
  const __m256i word = _mm256_setr_epi64x(0x0100010001000100, 0x0100010001000100,
                                          0x0504050405040504, 0x0504050405040504);
  const __m256i low = _mm256_broadcastsi128_si256(_mm_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128));
  const __m256i high = _mm256_slli_epi16(low, 8);
#pragma GCC unroll 2
  for (int pair = 0; pair < 2; ++pair) {  // the halves' first 16 bits, then their second
    const __m256i pick = _mm256_add_epi8(word, _mm256_set1_epi8(static_cast<char>(2 * pair)));
    const __m256i v = _mm256_shuffle_epi8(all, pick);
    q[2 * pair] = _mm256_cmpeq_epi16(_mm256_and_si256(v, low), low);
    q[2 * pair + 1] = _mm256_cmpeq_epi16(_mm256_and_si256(v, high), high);
  }
}

/// Four codes of kBits in every lane of v, the first at bit kFirst, the last ending at the top.
template <int kBits, int kFirst>
static inline void split_lanes(__m256i v, __m256i* q) {
  const __m256i mask = _mm256_set1_epi16((1 << kBits) - 1);
  q[0] = _mm256_and_si256(kFirst == 0 ? v : _mm256_srli_epi16(v, kFirst), mask);
  q[1] = _mm256_and_si256(_mm256_srli_epi16(v, kFirst + kBits), mask);
  q[2] = _mm256_and_si256(_mm256_srli_epi16(v, kFirst + 2 * kBits), mask);
  q[3] = _mm256_srli_epi16(v, kFirst + 3 * kBits);
}

/// Twelve bits begin at the first bit of a byte or at its fifth, every other lane. Lifting the
/// former by four is a shift and a blend: a product keeps VPMADDWD waiting (Zen 1, m = 1: 8 % less
/// time).
static inline void unpack_3(const uint8_t* at, __m256i* q) {
  const __m256i pick = _mm256_setr_epi8(0, 1, 1, 2, 3, 4, 4, 5, 6, 7, 7, 8, 9, 10, 10, 11, 4, 5, 5,
                                        6, 7, 8, 8, 9, 10, 11, 11, 12, 13, 14, 14, 15);
  const __m256i v = _mm256_shuffle_epi8(load_halves(at, at + 8), pick);
  split_lanes<3, 4>(_mm256_blend_epi16(_mm256_slli_epi16(v, 4), v, 0xAA), q);
}

/// The same twelve bits, two codes each: those that begin at a byte's first bit in one vector, the
/// others in another, so that none is lifted.
static inline void unpack_6(const uint8_t* at, __m256i* q) {
  const __m256i pick_a =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 3, 4, 4, 5, 6, 7, 7, 8, 9, 10, 10, 11));
  const __m256i pick_b = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(5, 6, 4, 5, 8, 9, 7, 8, 11, 12, 10, 11, 14, 15, 13, 14));
  const __m256i mask = _mm256_set1_epi16(63);
  const __m256i a = _mm256_shuffle_epi8(load_halves(at, at + 24), pick_a);
  const __m256i b = _mm256_shuffle_epi8(load_halves(at + 8, at + 32), pick_b);
  const __m256i first = _mm256_blend_epi16(a, b, 0xAA), fifth = _mm256_blend_epi16(a, b, 0x55);
  q[0] = _mm256_and_si256(first, mask);
  q[1] = _mm256_and_si256(_mm256_srli_epi16(first, 6), mask);
  q[2] = _mm256_and_si256(_mm256_srli_epi16(fifth, 4), mask);
  q[3] = _mm256_srli_epi16(fifth, 10);
}

/// Two codes of kBits at the top of every lane of v.
template <int kBits>
static inline void split_pairs(__m256i v, __m256i* q) {
  const __m256i mask = _mm256_set1_epi16((1 << kBits) - 1);
  q[0] = _mm256_and_si256(_mm256_srli_epi16(v, 16 - 2 * kBits), mask);
  q[1] = _mm256_srli_epi16(v, 16 - kBits);
}

/// E2M1 times kE2m1Times.
static inline void unpack_e2m1(__m256i v, __m256i* q) {
  const __m256i twice = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12));
  const __m256i low = _mm256_set1_epi8(15), upper = _mm256_set1_epi16(-256);
  const __m256i even = _mm256_shuffle_epi8(twice, _mm256_and_si256(v, low));
  const __m256i odd = _mm256_shuffle_epi8(twice, _mm256_and_si256(_mm256_srli_epi16(v, 4), low));
  q[0] = _mm256_slli_epi16(even, 8);
  q[1] = _mm256_slli_epi16(odd, 8);
  q[2] = _mm256_and_si256(even, upper);
  q[3] = _mm256_and_si256(odd, upper);
}

/// 64 codes from 8 * kBits bytes, none of which is read beyond.
template <Mode kMode, int kBits>
static inline void unpack(const uint8_t* at, __m256i* q) {
  static_assert(kMode == Mode::affine || kBits == 4);
  if constexpr (kBits == 1) {
    unpack_1(at, q);
  } else if constexpr (kBits == 2) {
    // The zero that extends a byte is cut from the last code as well.
    split_lanes<2, 0>(_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))),
                      q);
  } else if constexpr (kBits == 3) {
    unpack_3(at, q);
  } else if constexpr (kBits == 4) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    kMode == Mode::affine ? split_lanes<4, 0>(v, q) : unpack_e2m1(v, q);
  } else if constexpr (kBits == 5) {
    split_pairs<5>(lane_bits<10, 0, 0>(load_halves(at, at + 20)), q);
    split_pairs<5>(lane_bits<10, 0, 6>(load_halves(at + 10, at + 24)), q + 2);
  } else if constexpr (kBits == 6) {
    unpack_6(at, q);
  } else {
    const __m256i mask = _mm256_set1_epi16(255);
#pragma GCC unroll 2
    for (int pair = 0; pair < 2; ++pair) {
      const __m256i v = load_halves(at + 16 * pair, at + 32 + 16 * pair);
      q[2 * pair] = _mm256_and_si256(v, mask);
      q[2 * pair + 1] = _mm256_srli_epi16(v, 8);
    }
  }
}

}  // namespace stepless::kernels
