// One row of x: each weight row of a strip is read on for a while, with lanes along k; then the
// sums of blocks are turned so that a lane is an output. Integers are exact, so these are the bits
// of the panels. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx2/i8_panel.hpp"

namespace stepless::kernels {

static constexpr int64_t kLoneBlock = 64;      // elements: a vector of codes
static constexpr int64_t kLoneStretch = 1024;  // of a weight row before the next one's turn

/// Code times x: lane i sums elements 8 i to 8 i + 7. x: see store_lone().
static inline __m256i multiply_block(__m256i v, const uint8_t* x) {
  const __m256i nibbles = _mm256_set1_epi8(15);
  const __m256i* const at = reinterpret_cast<const __m256i*>(x);
  const __m256i even = _mm256_maddubs_epi16(_mm256_and_si256(v, nibbles), _mm256_load_si256(at));
  const __m256i odd = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(v, 4), nibbles),
                                           _mm256_load_si256(at + 1));
  return _mm256_madd_epi16(_mm256_add_epi16(even, odd), _mm256_set1_epi16(1));
}

/// Eight rows' sums of one block to those of its halves: lane r belongs to row r.
static inline void turn_sums(const int32_t (*rows)[8], __m256i* halves) {
  const auto both = [&](int r) {
    const __m256i* const at = reinterpret_cast<const __m256i*>(rows[r]);
    return _mm256_hadd_epi32(_mm256_load_si256(at), _mm256_load_si256(at + 1));
  };
  const __m256i low = _mm256_hadd_epi32(both(0), both(2)),
                high = _mm256_hadd_epi32(both(4), both(6));
  halves[0] = _mm256_permute2x128_si256(low, high, 0x20);
  halves[1] = _mm256_permute2x128_si256(low, high, 0x31);
}

/// The codes of `length` elements from k0 on of every row, times x.
static inline void sum_rows(const Strip& strip, const uint8_t* x, int64_t k0, int64_t length,
                            const uint8_t*& ahead, int32_t (*sums)[kStrip][8]) {
  const int64_t whole = length / kLoneBlock;
  for (int64_t r = 0; r < kStrip; ++r) {
    const uint8_t* at = strip.codes[r] + k0 / 2;
    for (int64_t b = 0; b < whole; ++b, at += 32) {
      if (b % 2 == 0) _mm_prefetch(reinterpret_cast<const char*>(ahead + 32 * b), _MM_HINT_T0);
      _mm256_store_si256(
          reinterpret_cast<__m256i*>(sums[b][r]),
          multiply_block(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)), x + 64 * b));
    }
    ahead += 32 * whole;
    if (length % kLoneBlock != 0)  // a half
      _mm256_store_si256(reinterpret_cast<__m256i*>(sums[whole][r]),
                         multiply_block(_mm256_zextsi128_si256(load_part<16>(at)), x + 64 * whole));
  }
}

/// What a stretch's sums are multiplied by.
struct LoneScales {
  alignas(32) float scales[kLoneStretch / 32][kStrip];
  alignas(32) float biases[kLoneStretch / 32][kStrip];
};

/// The sums of `length` elements' groups join the accumulators, group after group.
static inline __m256 add_sums(const MatmulArgs& args, const int32_t (*sums)[kStrip][8],
                              const LoneScales& w, Part x, int64_t length, __m256 acc) {
  const int64_t halves = args.group_size / 32;  // of blocks
  __m256i sum = _mm256_setzero_si256(), turned[2] = {sum, sum};
  for (int64_t h = 0, g = 0; h * 32 < length; ++h) {
    if (h % 2 == 0) turn_sums(sums[h / 2], turned);
    sum = _mm256_add_epi32(sum, turned[h % 2]);
    if ((h + 1) % halves != 0) continue;
    const __m256 both =
        _mm256_mul_ps(_mm256_load_ps(w.scales[g]), _mm256_broadcast_ss(x.scales + g));
    acc = _mm256_fmadd_ps(_mm256_load_ps(w.biases[g]), _mm256_broadcast_ss(x.sums + g), acc);
    acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), both, acc);
    sum = _mm256_setzero_si256();
    ++g;
  }
  return acc;
}

/// Outputs n0 .. n0 + count - 1.
static void run_lone(const MatmulArgs& args, int64_t n0, int64_t count) {
  const Strip strip = strip_at(args, n0);
  const int64_t bytes = kStrip * args.w_row_bytes;
  const uint8_t* ahead = strip.codes[0] + (bytes >= 8192 ? 1 : 8191 / bytes + 1) * bytes;
  alignas(32) int32_t sums[kLoneStretch / kLoneBlock][kStrip][8];
  LoneScales w;
  Part x = {bytes_of(args, {0, 1}), x_scales_of(args, {0, 1}), x_sums_of(args, {0, 1})};
  __m256 acc = _mm256_setzero_ps();
  for (int64_t k0 = 0; k0 < args.k; k0 += kLoneStretch) {
    const int64_t length = least(args.k - k0, kLoneStretch), groups = length / args.group_size;
    read_scales(args, args.scales, strip, k0 / args.group_size, groups, w.scales);
    read_scales(args, args.biases, strip, k0 / args.group_size, groups, w.biases);
    sum_rows(strip, x.bytes, k0, length, ahead, sums);
    acc = add_sums(args, sums, w, x, length, acc);
    x.bytes += length, x.scales += groups, x.sums += groups;
  }
  alignas(32) float y[kStrip];
  _mm256_store_ps(y, acc);
  store_strip(args, 0, n0, count, y);
}

}  // namespace stepless::kernels
