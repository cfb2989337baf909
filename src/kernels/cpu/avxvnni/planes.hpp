// x as planes of signed bytes, as VPDPBUSD takes them: two of them in the order avx512_i16, where a
// group becomes 16-bit integers 256 * high + low, one in the order int8_groups. Static only:
// nothing here is exported.
#pragma once
#include "kernels/cpu/avx2/i8_panel.hpp"

namespace stepless::kernels {

static constexpr int64_t kMostRows = 6;  // rows of x of a tile

static inline int64_t count_blocks(const MatmulArgs& args) {
  return (args.m + kMostRows - 1) / kMostRows;
}

/// Heights differ by one at most.
static inline Block even_block(const MatmulArgs& args, int64_t index) {
  const int64_t first = index * args.m / count_blocks(args);
  return {first, (index + 1) * args.m / count_blocks(args) - first};
}

static inline Block block_of_row(const MatmulArgs& args, int64_t i) {
  int64_t index = i * count_blocks(args) / args.m;
  if (even_block(args, index).first + even_block(args, index).rows <= i) ++index;
  return even_block(args, index);
}

/// Where a block of x, or what is left of it, lies. The workspace: the blocks of x, in each for
/// every 32 elements and each row 32 bytes of each plane, the high one first; then the scales of
/// the groups, in the same blocks, for each group and row one float; then the sums of x over the
/// groups likewise.
struct Planes {
  uint8_t* bytes;
  float *scales, *sums;
};

/// A block from element k on, where a group begins.
template <int kPlanes>
static inline Planes planes_at(const MatmulArgs& args, const Block& block, int64_t k) {
  const int64_t width = padded(args.k), place = block.first * (width / 32);
  float* const floats = reinterpret_cast<float*>(args.workspace + kPlanes * args.m * width);
  const int64_t g = k / args.group_size * block.rows;
  return {args.workspace + kPlanes * (block.first * width + k * block.rows), floats + place + g,
          floats + args.m * (width / 32) + place + g};
}

/// 32 words in the order in which packs of packs leave them, as bytes in the order of elements.
static inline __m256i bytes_of_words(__m256i a, __m256i b) {
  return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b),
                                     _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/// 32 elements; `lanes` grows by what adds up to their sum.
template <int kPlanes, Elements kElements>
static inline void store_planes(const MatmulArgs& args, int64_t at, __m256 factor, __m256i& lanes,
                                uint8_t* to) {
  __m256i v[4];
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    v[t] = _mm256_cvtps_epi32(_mm256_mul_ps(load_f32(args.x, args.x_type, at + 8 * t, 8), factor));
    lanes = _mm256_add_epi32(lanes, v[t]);
  }
  __m256i a = _mm256_packs_epi32(v[0], v[1]), b = _mm256_packs_epi32(v[2], v[3]);
  if constexpr (kPlanes == 2) {
    const __m256i half = _mm256_set1_epi16(128);
    store_bytes(bytes_of_words(_mm256_srai_epi16(_mm256_add_epi16(a, half), 8),
                               _mm256_srai_epi16(_mm256_add_epi16(b, half), 8)),
                kElements, 0, to);
    to += kUnit;
    a = _mm256_srai_epi16(_mm256_slli_epi16(a, 8), 8);
    b = _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8);
  }
  store_bytes(bytes_of_words(a, b), kElements, 0, to);
}

/// Codes of E2M1 are kept as twice their elements, and 12 more, so that they are unsigned.
static constexpr int32_t kE2m1Offset = 12;

/// kScale says how a group becomes integers. Without biases the place of a group's sum holds what
/// is added to its integer.
template <int kPlanes, Elements kElements, GroupScale (*kScale)(uint32_t largest),
          bool kAffine = true>
static void prepare_planes(const void* opaque, Slice rows) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const Block block = block_of_row(args, i);
    const int64_t place = i - block.first, row = i * args.x_stride;
    Planes to = planes_at<kPlanes>(args, block, 0);
    to.bytes += place * kPlanes * kUnit, to.scales += place, to.sums += place;
    for (int64_t k = 0; k < args.k; k += args.group_size) {
      const GroupScale both = kScale(largest_bits(args, row + k));
      const __m256 factor = _mm256_set1_ps(both.to_integers);
      __m256i lanes = _mm256_setzero_si256();
      for (int64_t t = 0; t < args.group_size; t += kUnit, to.bytes += block.rows * kPlanes * kUnit)
        store_planes<kPlanes, kElements>(args, row + k + t, factor, lanes, to.bytes);
      *to.scales = both.from_integers;
      const int32_t sum = sum_lanes(lanes);
      *to.sums = kAffine ? static_cast<float>(sum) * both.from_integers
                         : __builtin_bit_cast(float, -kE2m1Offset* sum);
      to.scales += block.rows, to.sums += block.rows;
    }
  }
}

/// Codes times x, four neighbours in every lane. As asm: see avx512vnni/strip.hpp.
static inline void add_products(__m256i& sums, __m256i codes, __m256i x) {
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(codes), "x"(x));
}

static inline __m256i four_of(const uint8_t* x) {
  return _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(x));
}

/// A group's integer joins an accumulator: first bias times the sum of x, or what replaces it.
template <bool kAffine>
static inline __m256 add_group(__m256 acc, __m256i sum, __m256 scale, __m256 bias,
                               const float* x_scale, const float* x_sum) {
  const __m256 both = _mm256_mul_ps(scale, _mm256_broadcast_ss(x_scale));
  if constexpr (kAffine)
    acc = _mm256_fmadd_ps(bias, _mm256_broadcast_ss(x_sum), acc);
  else
    sum = _mm256_add_epi32(sum, _mm256_castps_si256(_mm256_broadcast_ss(x_sum)));
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), both, acc);
}

}  // namespace stepless::kernels
