// x as 16-bit integers: every group of a row has a power of two as its scale, the least with which
// its largest number fits. bf16 keeps all bits of numbers down to 2^-7 of the group's largest, f16
// down to 2^-4; what is lost lies 2^-15 below the largest. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx2/i16_codes.hpp"

namespace stepless::kernels {

static constexpr int kTileM = 8;

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t padded(int64_t k) { return (k + 127) / 128 * 128; }

static inline int64_t block_rows(const MatmulArgs& args, int64_t i) {
  return least(args.m - i / kTileM * kTileM, kTileM);
}

// The workspace: blocks of eight rows of x (the last block holds what is left); in them, for every
// 64 elements and each row, four vectors as code_at() orders them.
static inline int16_t* integers_of(const MatmulArgs& args, int64_t i) {
  return reinterpret_cast<int16_t*>(args.workspace) + i / kTileM * kTileM * padded(args.k) +
         i % kTileM * 64;
}

// Then the scales of the rows' groups, in the same blocks. Groups of 64 and more: for every eight
// of them and each row eight floats, zero behind the last; smaller ones: for every 64 elements and
// each row eight floats, those of the lanes that the groups' codes fill. In affine mode the sums
// of x over the groups lie behind the scales of all rows, for every eight groups and each row.
static inline int64_t scale_floats(const MatmulArgs& args) {
  return padded(args.k) / (args.group_size >= 64 ? 16 : 8);  // of a row, as many as are set aside
}

static inline float* x_scales_of(const MatmulArgs& args, int64_t i) {
  return reinterpret_cast<float*>(args.workspace + 2 * args.m * padded(args.k)) +
         i / kTileM * kTileM * scale_floats(args) + i % kTileM * 8;
}

static inline float* x_sums_of(const MatmulArgs& args, int64_t i) {
  return reinterpret_cast<float*>(args.workspace + 2 * args.m * padded(args.k)) +
         args.m * scale_floats(args) + i / kTileM * kTileM * (padded(args.k) / 16) + i % kTileM * 8;
}

/// A group's exponent as float32 stores it. Below 2^-103 (absolute) precision ends, so that every
/// power of two made of it is a normal number.
static inline uint32_t group_exponent(const MatmulArgs& args, int64_t first, int64_t k) {
  __m256i most = _mm256_setzero_si256();
  const __m256i magnitude = _mm256_set1_epi32(INT32_MAX);
  for (int64_t t = 0; t < args.group_size; t += 8) {
    const __m256 v = load_f32(args.x, args.x_type, first + k + t, args.k - k - t);
    most = _mm256_max_epu32(most, _mm256_and_si256(_mm256_castps_si256(v), magnitude));
  }
  const uint32_t exponent = largest_lane(most) >> 23;
  return exponent > 24 ? exponent : 24;
}

/// 2^14 divided by the power of two of `exponent`.
static inline float to_integers(uint32_t exponent) {
  return __builtin_bit_cast(float, (268 - exponent) << 23);
}

/// The other way. A group with NaN or infinity has the scale NaN, whatever its integers are.
static inline float from_integers(uint32_t exponent) {
  return __builtin_bit_cast(float, exponent == 255 ? 0x7FC00000u : (exponent - 14) << 23);
}

/// `count` elements of one group from k on, in their own order. Returns lanes that add up to their
/// sum.
template <bool kNegated>
static inline __m256i to_naturals(const MatmulArgs& args, int64_t first, int64_t k, int64_t count,
                                  float factor, int16_t* to) {
  const __m256 scale = _mm256_set1_ps(factor);
  __m256i sum = _mm256_setzero_si256();
  for (int64_t t = 0; t < count; t += 16) {
    __m256i v[2];
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const int64_t at = k + t + 8 * h;
      v[h] = _mm256_cvtps_epi32(
          _mm256_mul_ps(load_f32(args.x, args.x_type, first + at, args.k - at), scale));
    }
    const __m256i both =
        _mm256_permute4x64_epi64(_mm256_packs_epi32(v[0], v[1]), _MM_SHUFFLE(3, 1, 2, 0));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(both, _mm256_set1_epi16(1)));
    _mm256_store_si256(reinterpret_cast<__m256i*>(to + t),
                       kNegated ? _mm256_sub_epi16(_mm256_setzero_si256(), both) : both);
  }
  return sum;
}

/// Scale of group g: `step` floats lie between a row's eights.
static inline void put_scale(const MatmulArgs& args, float* scales, int64_t step, int64_t g,
                             float scale) {
  if (args.group_size >= 64) {
    scales[g / 8 * step + g % 8] = scale;
    return;
  }
  const int64_t lanes = args.group_size / 8, at = g * lanes;
  for (int64_t lane = at % 8; lane < at % 8 + lanes; ++lane) scales[at / 8 * step + lane] = scale;
}

/// Zeros in place of the groups that are missing to a multiple of eight.
static inline void end_scales(float* to, int64_t count, int64_t step) {
  for (; count % 8 != 0; ++count) to[count / 8 * step + count % 8] = 0;
}

template <Mode kMode, int kBits>
static void prepare_rows(const MatmulArgs& args, Slice rows) {
  const int64_t group = args.group_size, run = least(group, 64);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t height = block_rows(args, i), first = i * args.x_stride;
    int16_t* to = integers_of(args, i);
    float *scales = x_scales_of(args, i), *sums = x_sums_of(args, i);
    __m256i sum = _mm256_setzero_si256();
    uint32_t exponent = 0;
    int64_t g = 0;
    for (int64_t k = 0; k < padded(args.k); k += 64, to += height * 64) {
      alignas(32) int16_t natural[64];
      for (int64_t t = 0; t < 64; t += run) {
        if ((k + t) % group == 0) exponent = group_exponent(args, first, k + t);
        sum =
            _mm256_add_epi32(sum, to_naturals<negated(kBits)>(args, first, k + t, run,
                                                              to_integers(exponent), natural + t));
        if ((k + t + run) % group != 0) continue;
        put_scale(args, scales, height * 8, g, from_integers(exponent));
        if (kMode == Mode::affine)
          sums[g / 8 * height * 8 + g % 8] =
              static_cast<float>(sum_lanes(sum)) * from_integers(exponent);
        sum = _mm256_setzero_si256();
        ++g;
      }
#pragma GCC unroll 4
      for (int t = 0; t < 4; ++t)
#pragma GCC unroll 16
        for (int lane = 0; lane < 16; ++lane) to[16 * t + lane] = natural[code_at<kBits>(t, lane)];
    }
    if (group >= 64) end_scales(scales, g, height * 8);
    if (kMode == Mode::affine) end_scales(sums, g, height * 8);
  }
}

}  // namespace stepless::kernels
