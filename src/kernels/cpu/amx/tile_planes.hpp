// x as planes of bytes (avx512vnni/planes.hpp), laid out as TDPBSUD takes them: sixteen rows of x,
// of each as many elements as a group has, 64 at most. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/planes.hpp"

namespace stepless::kernels {

static constexpr int64_t kTileM = 16;  // rows of x of a tile

/// Elements of a tile's row: groups of 128 are two pieces.
static inline int64_t piece_of(const MatmulArgs& args) { return least(args.group_size, 64); }

static inline int64_t count_tiles(const MatmulArgs& args) { return (args.m + kTileM - 1) / kTileM; }

/// Heights differ by one at most.
static inline Block tile_block(const MatmulArgs& args, int64_t index) {
  const int64_t first = index * args.m / count_tiles(args);
  return {first, (index + 1) * args.m / count_tiles(args) - first};
}

static inline Block tile_block_of_row(const MatmulArgs& args, int64_t i) {
  int64_t index = i * count_tiles(args) / args.m;
  if (tile_block(args, index).first + tile_block(args, index).rows <= i) ++index;
  return tile_block(args, index);
}

/// The workspace: the blocks of x; in each, piece after piece, a plane's bytes of every row, those
/// of the high plane first. Scales and sums lie as planes.hpp says; without biases the sums are
/// what is added to a group's integer.
template <class F, Elements kElements, GroupScale (*kScale)(uint32_t largest)>
static void prepare_tiles(const void* opaque, Slice rows) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  const __m512i order = order_of_planes(kElements, args);
  const int64_t piece = piece_of(args);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const Block block = tile_block_of_row(args, i);
    const int64_t place = i - block.first, row = i * args.x_stride, plane = block.rows * piece;
    uint8_t* const planes = planes_of<F>(args, block) + place * piece;
    float *scale = x_scales_of<F>(args, block) + place, *sum = x_sums_of<F>(args, block) + place;
    for (int64_t k = 0; k < args.k; k += args.group_size) {
      const GroupScale both = kScale(largest_bits(args, row + k));
      const __m512 factor = _mm512_set1_ps(both.to_integers);
      __m512i lanes = _mm512_setzero_si512();
      for (int64_t t = k; t < k + args.group_size; t += kUnit) {
        const __m512i words = to_words<kUnit>(args, row + t, factor, order, lanes);
        uint8_t* to = planes + t / piece * F::kPlanes * plane + t % piece;
        if constexpr (F::kPlanes == 2) {
          const __m512i high =
              _mm512_srai_epi16(_mm512_add_epi16(words, _mm512_set1_epi16(128)), 8);
          store_plane<kUnit>(_mm512_cvtepi16_epi8(high), to);
          to += plane;
        }
        store_plane<kUnit>(_mm512_cvtepi16_epi8(words), to);
      }
      *scale = both.from_integers;
      const int32_t whole = _mm512_reduce_add_epi32(lanes);
      *sum = F::kAffine ? static_cast<float>(whole) * both.from_integers
                        : __builtin_bit_cast(float, -kE2m1Offset* whole);
      scale += block.rows, sum += block.rows;
    }
  }
}

}  // namespace stepless::kernels
