// x as two planes of bytes. A group of a row becomes 16-bit integers with a power of two as its
// scale, the least with which its largest number fits; an integer is 256 * high + low, both signed,
// so that VPDPBUSD takes either. bf16 keeps all bits of numbers down to 2^-7 of the group's
// largest, f16 down to 2^-4. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512/numbers.hpp"

namespace stepless::kernels {

static constexpr int64_t kMostRows = 12;   // rows of x of a tile
static constexpr int64_t kUnit = 32;       // elements that are decoded and prepared at a time
static constexpr int64_t kUnitBytes = 64;  // of one row of x: both planes

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t padded(int64_t k) { return (k + 127) / 128 * 128; }

/// Rows of x of one tile.
struct Block {
  int64_t first, rows;
};

static inline int64_t count_blocks(const MatmulArgs& args) {
  return (args.m + kMostRows - 1) / kMostRows;
}

/// Heights differ by one at most: thirteen rows are seven and six, as a block of one costs nearly
/// as much as one of five.
static inline Block block_at(const MatmulArgs& args, int64_t index) {
  const int64_t blocks = count_blocks(args), low = args.m / blocks, taller = args.m % blocks;
  return {index * low + least(index, taller), low + (index < taller ? 1 : 0)};
}

static inline Block block_of_row(const MatmulArgs& args, int64_t i) {
  const int64_t blocks = count_blocks(args), low = args.m / blocks, taller = args.m % blocks;
  const int64_t in_taller = taller * (low + 1);
  return block_at(args, i < in_taller ? i / (low + 1) : taller + (i - in_taller) / low);
}

// The workspace: the blocks of x, in each for every 32 elements and each row 32 bytes of the high
// plane, then of the low one. Dword 2 t + h of either holds elements 8 t + h + {0, 2, 4, 6}, as the
// low (h = 0) or high nibbles of dword t of the codes do. Then the scales of the groups, in the
// same blocks, for each group and row one float; then the sums of x over the groups likewise.
static inline uint8_t* planes_of(const MatmulArgs& args, Block block) {
  return args.workspace + 2 * block.first * padded(args.k);
}

static inline float* x_scales_of(const MatmulArgs& args, Block block) {
  return reinterpret_cast<float*>(args.workspace + 2 * args.m * padded(args.k)) +
         block.first * (padded(args.k) / 32);
}

static inline float* x_sums_of(const MatmulArgs& args, Block block) {
  return x_scales_of(args, block) + args.m * (padded(args.k) / 32);
}

static inline __m512 load_x(const MatmulArgs& args, int64_t at) {
  return load_f32(args.x, args.x_type, at, 0xFFFF);
}

/// The exponent, as float32 stores it, of a group's largest number; one more where that would give
/// an integer above 32639, which has no planes. Below 2^-103 (absolute) precision ends, so that
/// every power of two made of it is a normal number. 255 and more: NaN or infinity.
static inline uint32_t group_exponent(const MatmulArgs& args, int64_t at) {
  __m512i most = _mm512_setzero_si512();
  for (int64_t t = 0; t < args.group_size; t += 16)
    most = _mm512_max_epu32(most, _mm512_and_si512(_mm512_castps_si512(load_x(args, at + t)),
                                                   _mm512_set1_epi32(INT32_MAX)));
  const uint32_t exponent = (_mm512_reduce_max_epu32(most) + 0x10000) >> 23;
  return exponent > 24 ? exponent : 24;
}

/// 2^14 divided by the power of two of `exponent`, or for NaN and infinity anything finite.
static inline float to_integers(uint32_t exponent) {
  return __builtin_bit_cast(float, (268 - (exponent < 255 ? exponent : 254)) << 23);
}

/// The other way. A group with NaN or infinity has the scale NaN, whatever its integers are.
static inline float from_integers(uint32_t exponent) {
  return __builtin_bit_cast(float, exponent >= 255 ? 0x7FC00000u : (exponent - 14) << 23);
}

/// The planes of 32 elements; returns lanes that add up to the sum of their integers.
static inline __m512i store_planes(const MatmulArgs& args, int64_t at, __m512 factor, __m512i order,
                                   uint8_t* to) {
  const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(load_x(args, at), factor));
  const __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(load_x(args, at + 16), factor));
  const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(a)),
                                          _mm512_cvtepi32_epi16(b), 1);
  const __m512i words = _mm512_permutexvar_epi16(order, both);
  const __m512i high = _mm512_srai_epi16(_mm512_add_epi16(words, _mm512_set1_epi16(128)), 8);
  _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi16_epi8(high));
  _mm256_store_si256(reinterpret_cast<__m256i*>(to + 32), _mm512_cvtepi16_epi8(words));
  return _mm512_add_epi32(a, b);
}

static void prepare_rows(const void* opaque, Slice rows) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  alignas(64) uint16_t places[kUnit];
  for (int i = 0; i < kUnit; ++i)
    places[i] = static_cast<uint16_t>(i / 8 * 8 + i / 4 % 2 + i % 4 * 2);
  const __m512i order = _mm512_load_si512(places);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const Block block = block_of_row(args, i);
    const int64_t place = i - block.first;
    uint8_t* to = planes_of(args, block) + place * kUnitBytes;
    float *scale = x_scales_of(args, block) + place, *sum = x_sums_of(args, block) + place;
    const int64_t row = i * args.x_stride;
    for (int64_t k = 0; k < args.k; k += args.group_size) {
      const uint32_t exponent = group_exponent(args, row + k);
      const __m512 factor = _mm512_set1_ps(to_integers(exponent));
      __m512i lanes = _mm512_setzero_si512();
      for (int64_t t = 0; t < args.group_size; t += kUnit, to += block.rows * kUnitBytes)
        lanes = _mm512_add_epi32(lanes, store_planes(args, row + k + t, factor, order, to));
      *scale = from_integers(exponent);
      *sum = static_cast<float>(_mm512_reduce_add_epi32(lanes)) * *scale;
      scale += block.rows, sum += block.rows;
    }
  }
}

}  // namespace stepless::kernels
