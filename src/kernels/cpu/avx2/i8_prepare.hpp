// x as signed bytes with a float32 scale a group of the weight (any/byte_scale.hpp). Static only:
// nothing here is exported.
#pragma once
#include "kernels/cpu/any/byte_scale.hpp"
#include "kernels/cpu/avx2/numbers.hpp"

namespace stepless::kernels {

static constexpr int kTileM = 4;      // rows of x of a tile
static constexpr int64_t kUnit = 32;  // elements that are decoded and prepared at a time

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t padded(int64_t k) { return (k + 127) / 128 * 128; }

/// Rows of x of one tile.
struct Block {
  int64_t first, rows;
};

static inline Block block_at(const MatmulArgs& args, int64_t index) {
  return {index * kTileM, least(args.m - index * kTileM, kTileM)};
}

// The workspace: the blocks of x, in each for every 32 elements and each row 32 bytes, in the order
// of the checkpoint or, for nibbles, with elements 8 t + h + {0, 2, 4, 6} in dword 2 t + h, as the
// low (h = 0) or high nibbles of dword t of the codes are. Then the scales of the groups, in the
// same blocks, for each group and row one float; then the sums of the rounded x over the groups
// likewise.
static inline uint8_t* bytes_of(const MatmulArgs& args, Block block) {
  return args.workspace + block.first * padded(args.k);
}

static inline float* x_scales_of(const MatmulArgs& args, Block block) {
  return reinterpret_cast<float*>(args.workspace + args.m * padded(args.k)) +
         block.first * (padded(args.k) / 32);
}

static inline float* x_sums_of(const MatmulArgs& args, Block block) {
  return x_scales_of(args, block) + args.m * (padded(args.k) / 32);
}

/// The largest magnitude of a group as bits of a float32, which ascend as magnitudes do; NaN lies
/// above infinity.
static inline uint32_t largest_bits(const MatmulArgs& args, int64_t at) {
  __m256i v = _mm256_setzero_si256();
  const __m256i magnitude = _mm256_set1_epi32(INT32_MAX);
  for (int64_t t = 0; t < args.group_size; t += 8)
    v = _mm256_max_epu32(
        v,
        _mm256_and_si256(_mm256_castps_si256(load_f32(args.x, args.x_type, at + t, 8)), magnitude));
  return largest_lane(v);
}

/// In which order bytes hold 32 elements. `lone`: of every 64 the even ones, then the odd.
enum class Elements { nibbles, naturals, lone };

/// 32 elements as bytes; `lanes` grows by what adds up to their sum.
static inline __m256i to_bytes(const MatmulArgs& args, int64_t at, __m256 factor, __m256i& lanes) {
  __m256i v[4];
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    v[t] = _mm256_cvtps_epi32(_mm256_mul_ps(load_f32(args.x, args.x_type, at + 8 * t, 8), factor));
    lanes = _mm256_add_epi32(lanes, v[t]);
  }
  const __m256i mixed =
      _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
  return _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/// Element k and those behind it, `v`, at `to`, or where a lone row of x at `to` has them.
static inline void store_bytes(__m256i v, Elements elements, int64_t k, uint8_t* to) {
  if (elements == Elements::lone) {
    const __m256i parted =
        _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(_mm_setr_epi8(
                                   0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)));
    v = _mm256_permute4x64_epi64(parted, _MM_SHUFFLE(3, 1, 2, 0));
    to += k / 64 * 64 + k % 64 / 2;
    _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(v));
    _mm_store_si128(reinterpret_cast<__m128i*>(to + 32), _mm256_extracti128_si256(v, 1));
    return;
  }
  if (elements == Elements::nibbles)
    v = _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(_mm_setr_epi8(
                                   0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15)));
  _mm256_store_si256(reinterpret_cast<__m256i*>(to), v);
}

template <Elements kElements>
static void prepare_rows(const void* opaque, Slice rows) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  const bool lone = kElements == Elements::nibbles && args.m == 1;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const Block block = block_at(args, i / kTileM);
    const int64_t place = i - block.first, row = i * args.x_stride;
    uint8_t* const first = bytes_of(args, block);
    float *scale = x_scales_of(args, block) + place, *sum = x_sums_of(args, block) + place;
    for (int64_t k = 0; k < args.k; k += args.group_size) {
      const GroupScale both = byte_scale(largest_bits(args, row + k));
      const __m256 factor = _mm256_set1_ps(both.to_integers);
      __m256i lanes = _mm256_setzero_si256();
      for (int64_t t = k; t < k + args.group_size; t += kUnit) {
        const __m256i v = to_bytes(args, row + t, factor, lanes);
        if (lone)
          store_bytes(v, Elements::lone, t, first);
        else
          store_bytes(v, kElements, t, first + (t / kUnit * block.rows + place) * kUnit);
      }
      *scale = both.from_integers;
      *sum = static_cast<float>(sum_lanes(lanes)) * both.from_integers;
      scale += block.rows, sum += block.rows;
    }
  }
}

}  // namespace stepless::kernels
