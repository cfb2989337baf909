// A chunk of one weight row, packed or dense, as float32: vectors of 16 spaced kRows apart, so that
// a tile of rows lies interleaved. 4-bit codes come in nibble order within 64 (nibble_order), all
// else in the order of the checkpoint.
#pragma once
#include "kernels/cpu/avx512/numbers.hpp"

namespace stepless::kernels {

static constexpr int kRows = 8;         // weight rows of a tile
static constexpr int64_t kChunk = 512;  // a multiple of every group size
static constexpr int64_t kChunkGroups = kChunk / 16;

/// One weight row, where the tile stands.
struct Chunk {
  const MatmulArgs& args;
  int64_t row, k0, length;  // elements k0 .. k0 + length - 1; k0 is a multiple of kChunk
  float* out;
};

/// Decoded scales and biases of the chunk's groups, zero beyond them.
struct ChunkScales {
  alignas(64) float scale[kChunkGroups + 16];
  alignas(64) float bias[kChunkGroups + 16];
};

static inline const uint8_t* chunk_bytes(const Chunk& c, int bits) {
  return c.args.w + c.row * c.args.w_row_bytes + c.k0 * bits / 8;
}

static inline float* vector_at(const Chunk& c, int64_t step) { return c.out + step * kRows * 16; }

static inline __m512 read_fp_scales(const MatmulArgs& args, const uint8_t* at, __mmask16 mask) {
  const __m128i bytes = _mm_maskz_loadu_epi8(mask, at);
  if (args.mode != Mode::nvfp4) {  // E8M0: byte 0 is the subnormal 2^-127
    const __m512i b = _mm512_cvtepu8_epi32(bytes);
    const __mmask16 zero = _mm512_testn_epi32_mask(b, b);
    return _mm512_castsi512_ps(
        _mm512_mask_mov_epi32(_mm512_slli_epi32(b, 23), zero, _mm512_set1_epi32(0x400000)));
  }
  // E4M3 as float16 with the exponent 8 too small: exact, subnormals included.
  const __m256i b = _mm256_cvtepu8_epi16(bytes);
  const __m512 value = _mm512_mul_ps(_mm512_cvtph_ps(_mm256_slli_epi16(b, 7)), _mm512_set1_ps(256));
  return _mm512_mul_ps(value, _mm512_set1_ps(args.tensor_scale));
}

static inline void read_scales(const Chunk& c, ChunkScales& to) {
  const MatmulArgs& args = c.args;
  const int64_t groups = args.k / args.group_size;
  const int64_t first = c.k0 / args.group_size;
  const int64_t count = (c.length + args.group_size - 1) / args.group_size;
  const int64_t at = c.row * groups + first;
  for (int64_t g = 0; g < count; g += 16) {
    const __mmask16 mask = first16(count - g);
    if (args.mode == Mode::affine) {
      _mm512_store_ps(to.scale + g, load_f32(args.scales, args.w_type, at + g, mask));
      _mm512_store_ps(to.bias + g, load_f32(args.biases, args.w_type, at + g, mask));
    } else {
      _mm512_store_ps(to.scale + g,
                      _mm512_maskz_mov_ps(mask, read_fp_scales(args, args.scales + at + g, mask)));
    }
  }
}

/// 64 codes in both halves: shifted right by 8 t bits, lane i holds code 8 i + 2 t of the lower
/// eight lanes and code 8 (i - 8) + 2 t + 1 of the upper eight, in its low four bits.
static inline __m512i load_nibbles(const uint8_t* at, int64_t left) {
  const __m256i v = left >= 64 ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at))
                               : _mm256_maskz_loadu_epi8((1u << (left / 2)) - 1, at);
  return _mm512_srlv_epi32(_mm512_broadcast_i64x4(v),
                           _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4));
}

static inline void look_up_64(const Chunk& c, int64_t block, __m512i v, __m512 table) {
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t)
    _mm512_store_ps(
        vector_at(c, block * 4 + t),
        _mm512_permutexvar_ps(_mm512_srli_epi32(v, static_cast<unsigned>(8 * t)), table));
}

/// Groups of 64 and 128: the sixteen values of a group are one register.
static inline void decode_affine4_wide(const Chunk& c, const ChunkScales& s) {
  const uint8_t* bytes = chunk_bytes(c, 4);
  const __m512 codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const int shift = c.args.group_size == 64 ? 0 : 1;
  for (int64_t j = 0; j * 64 < c.length; ++j)
    look_up_64(c, j, load_nibbles(bytes + 32 * j, c.length - 64 * j),
               _mm512_fmadd_ps(codes, _mm512_set1_ps(s.scale[j >> shift]),
                               _mm512_set1_ps(s.bias[j >> shift])));
}

/// Any other 4-bit format: 64 codes hold 2 or 4 groups, told apart by lane.
static inline void decode_four(const Chunk& c, const ChunkScales& s) {
  const bool affine = c.args.mode == Mode::affine;
  const uint8_t* bytes = chunk_bytes(c, 4);
  const __m512 table =
      affine ? _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
             : _mm512_setr_ps(0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.f, -.5f, -1, -1.5f, -2, -3, -4, -6);
  const int64_t per = 64 / c.args.group_size;
  const __m512i group = per == 2
                            ? _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1)
                            : _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1, 2, 2, 3, 3);
  for (int64_t j = 0; j * 64 < c.length; ++j) {
    const __m512i v = load_nibbles(bytes + 32 * j, c.length - 64 * j);
    const __m512 scale = _mm512_permutexvar_ps(group, _mm512_loadu_ps(s.scale + j * per));
    const __m512 bias = _mm512_permutexvar_ps(group, _mm512_loadu_ps(s.bias + j * per));
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) {
      const __m512 q =
          _mm512_permutexvar_ps(_mm512_srli_epi32(v, static_cast<unsigned>(8 * t)), table);
      _mm512_store_ps(vector_at(c, j * 4 + t),
                      affine ? _mm512_fmadd_ps(q, scale, bias) : _mm512_mul_ps(q, scale));
    }
  }
}

/// Where the 16 codes of 2 * bits bytes lie: which two bytes hold lane i's code, and how far up.
struct CodePlaces {
  alignas(64) uint8_t bytes[64];
  alignas(64) int32_t shifts[16];
};

static constexpr CodePlaces code_places(int bits) {
  CodePlaces places{};
  for (int i = 0; i < 16; ++i) {
    const int at = i * bits / 8;
    places.bytes[4 * i] = static_cast<uint8_t>(at);
    places.bytes[4 * i + 1] = static_cast<uint8_t>(at < 15 ? at + 1 : 0x80);
    places.bytes[4 * i + 2] = places.bytes[4 * i + 3] = 0x80;
    places.shifts[i] = i * bits % 8;
  }
  return places;
}

template <int kBits>
static void decode_affine(const Chunk& c, const ChunkScales& s) {
  static constexpr CodePlaces kPlaces = code_places(kBits);
  const __m512i pick = _mm512_load_si512(kPlaces.bytes);
  const __m512i shifts = _mm512_load_si512(kPlaces.shifts);
  const __m512i mask = _mm512_set1_epi32((1 << kBits) - 1);
  constexpr __mmask16 kLoaded = static_cast<__mmask16>((1u << (2 * kBits)) - 1);
  const uint8_t* bytes = chunk_bytes(c, kBits);
  const int64_t per = c.args.group_size / 16;
  for (int64_t j = 0, g = 0; j * 16 < c.length; ++g) {
    const __m512 scale = _mm512_set1_ps(s.scale[g]), bias = _mm512_set1_ps(s.bias[g]);
    for (const int64_t end = j + per; j < end; ++j, bytes += 2 * kBits) {
      const __m128i packed = _mm_maskz_loadu_epi8(kLoaded, bytes);
      __m512i q = _mm512_cvtepu8_epi32(packed);
      if constexpr (kBits != 8) {
        q = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(packed), pick);
        q = _mm512_and_si512(_mm512_srlv_epi32(q, shifts), mask);
      }
      _mm512_store_ps(vector_at(c, j), _mm512_fmadd_ps(_mm512_cvtepi32_ps(q), scale, bias));
    }
  }
}

static inline void decode_mxfp8(const Chunk& c, const ChunkScales& s) {
  const uint8_t* bytes = chunk_bytes(c, 8);
  for (int64_t j = 0; j * 16 < c.length; ++j) {
    const __m256i b =
        _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 16 * j)));
    const __m256i half =
        _mm256_or_si256(_mm256_slli_epi16(_mm256_and_si256(b, _mm256_set1_epi16(0x80)), 8),
                        _mm256_slli_epi16(_mm256_and_si256(b, _mm256_set1_epi16(0x7F)), 7));
    const __m512 value = _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256));
    _mm512_store_ps(vector_at(c, j), _mm512_mul_ps(value, _mm512_set1_ps(s.scale[j / 2])));
  }
}

static inline bool nibble_order(const MatmulArgs& args) { return args.bits == 4; }

static inline void decode_packed(const Chunk& c) {
  ChunkScales s = {};
  read_scales(c, s);
  if (c.args.mode == Mode::mxfp8) return decode_mxfp8(c, s);
  switch (c.args.bits) {
    case 1:
      return decode_affine<1>(c, s);
    case 2:
      return decode_affine<2>(c, s);
    case 3:
      return decode_affine<3>(c, s);
    case 5:
      return decode_affine<5>(c, s);
    case 6:
      return decode_affine<6>(c, s);
    case 8:
      return decode_affine<8>(c, s);
    default:
      break;
  }
  if (c.args.mode == Mode::affine && c.args.group_size >= 64) return decode_affine4_wide(c, s);
  decode_four(c, s);
}

static inline void decode_dense(const Chunk& c) {
  const uint8_t* row = c.args.w + c.row * c.args.w_row_bytes;
  for (int64_t j = 0; j * 16 < c.length; ++j)
    _mm512_store_ps(vector_at(c, j),
                    load_f32(row, c.args.w_type, c.k0 + 16 * j, first16(c.length - 16 * j)));
}

}  // namespace stepless::kernels
