// A chunk of one weight row, packed or dense, as float32 in vectors of 8 spaced kRows apart, so
// that a tile of rows lies interleaved. Within 64 elements their order is element_at().
#pragma once
#include "kernels/cpu/avx2/decode_block.hpp"

namespace stepless::kernels {

static constexpr int kRows = 4;          // weight rows of a tile
static constexpr int64_t kChunk = 1024;  // a multiple of every group size
static constexpr int64_t kChunkGroups = kChunk / 16;

struct Chunk {
  const MatmulArgs& args;
  int64_t row, k0,
      length;  // elements k0 .. k0 + length - 1 of weight row `row`; k0 is a multiple of kChunk
  float* out;
};

struct ChunkScales {
  alignas(32) float scale[kChunkGroups +
                          8];  // of the chunk's groups, zero beyond them up to a multiple of 8
  alignas(32) float bias[kChunkGroups + 8];
};

/// How far to prefetch in a tile of four weight rows read in step: the same place some tiles on, 8
/// KiB or more. Short streams lose the hardware prefetcher.
static inline int64_t bytes_ahead(const MatmulArgs& args) {
  const int64_t tile = kRows * args.w_row_bytes;
  return tile >= 8192 ? tile : (8191 / tile + 1) * tile;
}

static inline void put(const Chunk& c, int64_t step, __m256 value) {
  _mm256_store_ps(c.out + step * kRows * 8, value);
}

static inline const uint8_t* chunk_bytes(const Chunk& c, int bits) {
  return c.args.w + c.row * c.args.w_row_bytes + c.k0 * bits / 8;
}

static inline void read_scales(const Chunk& c, ChunkScales& to) {
  const MatmulArgs& args = c.args;
  const int shift = __builtin_ctz(static_cast<unsigned>(args.group_size));  // a division costs more
  const int64_t count = (c.length + args.group_size - 1) >> shift;
  const int64_t at = c.row * (args.k >> shift) + (c.k0 >> shift);
  for (int64_t g = 0; g < count; g += 8) {
    if (args.mode == Mode::affine) {
      _mm256_store_ps(to.scale + g, load_f32(args.scales, args.w_type, at + g, count - g));
      _mm256_store_ps(to.bias + g, load_f32(args.biases, args.w_type, at + g, count - g));
      continue;
    }
    const int64_t left = count - g < 8 ? count - g : 8;
    const __m128i bytes =
        left == 8 ? _mm_loadl_epi64(reinterpret_cast<const __m128i*>(args.scales + at + g))
                  : load_bytes(args.scales + at + g, left);
    const __m256 scale = args.mode == Mode::nvfp4
                             ? _mm256_mul_ps(e4m3_to_f32(bytes), _mm256_set1_ps(args.tensor_scale))
                             : e8m0_to_f32(bytes);
    _mm256_store_ps(to.scale + g, scale);
  }
}

/// q*s + b with its last bit set where it was cut off: rounding that to 16 bits rounds once. q*s
/// must be exact.
static inline __m256 fma_to_odd(__m256 q, __m256 s, __m256 b) {
  const __m256 product = _mm256_mul_ps(q, s), sum = _mm256_add_ps(product, b);
  const __m256 part = _mm256_sub_ps(sum, product);
  const __m256 error =
      _mm256_add_ps(_mm256_sub_ps(product, _mm256_sub_ps(sum, part)), _mm256_sub_ps(b, part));
  const __m256i cut = _mm256_castps_si256(_mm256_cmp_ps(error, _mm256_setzero_ps(), _CMP_NEQ_OQ));
  // The nearest is beyond the sum, away from zero, where the error has the other sign.
  const __m256i beyond = _mm256_srai_epi32(_mm256_castps_si256(_mm256_xor_ps(error, sum)), 31);
  const __m256i bits = _mm256_add_epi32(_mm256_castps_si256(sum), _mm256_and_si256(cut, beyond));
  return _mm256_castsi256_ps(_mm256_or_si256(bits, _mm256_srli_epi32(cut, 31)));
}

/// Whether some s*q + b may need more than 24 bits and the result fewer. quantize() makes no such
/// group: its biases are small multiples of their scales.
static inline bool rounds_twice(const Chunk& c, const ChunkScales& s) {
  if (c.args.y_type == DType::f32) return false;
  __m256 wide = _mm256_setzero_ps();
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX));
  for (int64_t g = 0; g * c.args.group_size < c.length; g += 8) {
    const __m256 scale = _mm256_and_ps(_mm256_load_ps(s.scale + g), magnitude);
    const __m256 bias = _mm256_and_ps(_mm256_load_ps(s.bias + g), magnitude);
    const __m256 below =
        _mm256_cmp_ps(bias, _mm256_mul_ps(scale, _mm256_set1_ps(0.125f)), _CMP_LT_OQ);
    const __m256 above =
        _mm256_cmp_ps(bias, _mm256_mul_ps(scale, _mm256_set1_ps(4096)), _CMP_GT_OQ);
    const __m256 some = _mm256_cmp_ps(bias, _mm256_setzero_ps(), _CMP_NEQ_OQ);
    wide = _mm256_or_ps(wide, _mm256_and_ps(some, _mm256_or_ps(below, above)));
  }
  return _mm256_movemask_ps(wide) != 0;
}

/// Whether the chunk takes its rarer arithmetic: affine, see rounds_twice(); mxfp8, scales from
/// 2^120 on, which have no room for the 2^8 of fold_scales().
template <Mode kMode>
static inline bool is_rare(const Chunk& c, const ChunkScales& s) {
  if constexpr (kMode == Mode::affine) return rounds_twice(c, s);
  if constexpr (kMode != Mode::mxfp8) return false;
  __m256 most = _mm256_setzero_ps();
  for (int64_t g = 0; g * 32 < c.length; g += 8)
    most = _mm256_max_ps(most, _mm256_load_ps(s.scale + g));
  return _mm256_movemask_ps(_mm256_cmp_ps(most, _mm256_set1_ps(0x1p120f), _CMP_GE_OQ)) != 0;
}

/// Where nothing is rare: what decoded elements lack of their value, once a group.
template <Mode kMode>
static inline void fold_scales(int64_t length, ChunkScales& s) {
  if constexpr (kMode != Mode::mxfp8) return;
  for (int64_t g = 0; g * 32 < length; g += 8)
    _mm256_store_ps(s.scale + g, _mm256_mul_ps(_mm256_load_ps(s.scale + g), _mm256_set1_ps(256)));
}

/// A code or an element as a weight.
template <Mode kMode, bool kRare>
__attribute__((always_inline)) static inline __m256 weight_of(__m256 value, __m256 scale,
                                                              __m256 bias) {
  if constexpr (kMode == Mode::affine)
    return kRare ? fma_to_odd(value, scale, bias) : _mm256_fmadd_ps(value, scale, bias);
  if (kMode == Mode::mxfp8 && kRare) value = _mm256_mul_ps(value, _mm256_set1_ps(256));
  return _mm256_mul_ps(value, scale);
}

/// Calls f(t, w) for the eight vectors of block j of a row, its 64 weights.
template <Mode kMode, int kBits, bool kRare, class F>
__attribute__((always_inline)) static inline void each_weight(const uint8_t* bytes,
                                                              const ChunkScales& s, int64_t j,
                                                              int64_t group_size, F f) {
  const Block<kMode, kBits> block(bytes);
  const BlockScales scales = block_scales<kMode, kBits>(s.scale, j, group_size);
  BlockScales biases = scales;
  if constexpr (kMode == Mode::affine) biases = block_scales<kMode, kBits>(s.bias, j, group_size);
#pragma GCC unroll 8
  for (int t = 0; t < 8; ++t) {
    const int half = half_of<kMode, kBits>(t);
    f(t, weight_of<kMode, kRare>(block.value(t), scales.half[half], biases.half[half]));
  }
}

template <Mode kMode, int kBits, bool kRare>
static void decode_blocks(const Chunk& c, const ChunkScales& s) {
  const uint8_t* bytes = chunk_bytes(c, kBits);
  const int64_t length = c.length, group_size = c.args.group_size;
  float* out = c.out;
  alignas(32) uint8_t last[8 * kBits] = {};
  for (int64_t j = 0; j * 64 < length; ++j, bytes += 8 * kBits, out += 64 * kRows) {
    const uint8_t* at = bytes;
    if (length - 64 * j < 64) {
      memcpy(last, bytes, static_cast<size_t>((length - 64 * j) * kBits / 8));
      at = last;
    }
    each_weight<kMode, kBits, kRare>(
        at, s, j, group_size, [&](int t, __m256 w) __attribute__((always_inline)) {
          _mm256_store_ps(out + t * kRows * 8, w);
        });
  }
}

template <Mode kMode, int kBits>
static void decode_chunk(const Chunk& c) {
  const uint8_t* next = chunk_bytes(c, kBits) + bytes_ahead(c.args);
  for (int64_t i = 0; i < c.length * kBits / 8; i += 64)
    _mm_prefetch(reinterpret_cast<const char*>(next + i), _MM_HINT_T1);
  ChunkScales s;
  read_scales(c, s);
  if (is_rare<kMode>(c, s)) return decode_blocks<kMode, kBits, true>(c, s);
  fold_scales<kMode>(c.length, s);
  decode_blocks<kMode, kBits, false>(c, s);
}

static inline void decode_dense(const Chunk& c) {
  const DType type = c.args.w_type;
  const uint8_t* row = c.args.w + c.row * c.args.w_row_bytes;
  const int64_t size = type == DType::f32 ? 4 : 2, ahead = bytes_ahead(c.args);
  int64_t j = 0;
  for (; j * 8 + 8 <= c.length; ++j) {
    const uint8_t* at = row + (c.k0 + 8 * j) * size;
    _mm_prefetch(reinterpret_cast<const char*>(at + ahead), _MM_HINT_T1);
    put(c, j,
        type == DType::f32
            ? _mm256_loadu_ps(reinterpret_cast<const float*>(at))
            : half_to_f32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)), type));
  }
  if (j * 8 < c.length) put(c, j, load_f32(row, type, c.k0 + 8 * j, c.length - 8 * j));
}

}  // namespace stepless::kernels
