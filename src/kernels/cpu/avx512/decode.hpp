// A chunk of one weight row, packed or dense, as float32. 4-bit codes come in nibble order within
// 64 (nibble_order), all else in the order of the checkpoint.
#pragma once
#include "kernels/cpu/avx512/numbers.hpp"

namespace stepless::kernels {

static constexpr int kRows = 8;         // weight rows of a tile
static constexpr int64_t kChunk = 512;  // a multiple of every group size
static constexpr int64_t kChunkGroups = kChunk / 16;
/// Floats from row to row of a panel. Rows lie each by itself: with sixteen elements of all rows in
/// turn stores take up to half as long again. A line more than kChunk, so that the same step of
/// eight rows does not share a set of L1.
static constexpr int64_t kPanelRow = kChunk + 16;

/// One weight row, where the tile stands.
struct Chunk {
  const MatmulArgs& args;
  int64_t row, k0, length;  // elements k0 .. k0 + length - 1; k0 is a multiple of kChunk
  float* out;
};

/// Decoded scales and biases of the chunk's groups, zero beyond them up to a multiple of 16.
struct ChunkScales {
  alignas(64) float scale[kChunkGroups + 16];
  alignas(64) float bias[kChunkGroups + 16];
};

static inline const uint8_t* chunk_bytes(const Chunk& c, int bits) {
  return c.args.w + c.row * c.args.w_row_bytes + c.k0 * bits / 8;
}

/// How far to prefetch in a tile of `rows` weight rows read in step: the same place some tiles on,
/// 8 KiB or more. Short streams lose the hardware prefetcher: m = 1 at 4 bits reads 54 % of the
/// ceiling without this, 79 % with it, 63 % at half the distance (4096 x 4096, Emerald Rapids).
static inline int64_t bytes_ahead(const MatmulArgs& args, int64_t rows) {
  const int64_t tile = rows * args.w_row_bytes;
  return tile >= 8192 ? tile : (8191 / tile + 1) * tile;
}

static inline float* vector_at(const Chunk& c, int64_t step) { return c.out + step * 16; }

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

template <DType kType>
static inline void read_affine_scales(const MatmulArgs& args, int64_t at, int64_t count,
                                      ChunkScales& to) {
  constexpr int64_t kSize = kType == DType::f32 ? 4 : 2;
  int64_t g = 0;
  for (; g + 16 <= count; g += 16) {
    _mm512_store_ps(to.scale + g, load_whole<kType>(args.scales + (at + g) * kSize));
    _mm512_store_ps(to.bias + g, load_whole<kType>(args.biases + (at + g) * kSize));
  }
  if (g == count) return;
  const __mmask16 mask = first16(count - g);
  _mm512_store_ps(to.scale + g, load_f32(args.scales, kType, at + g, mask));
  _mm512_store_ps(to.bias + g, load_f32(args.biases, kType, at + g, mask));
}

static inline void read_scales(const Chunk& c, ChunkScales& to) {
  const MatmulArgs& args = c.args;
  const int shift = __builtin_ctz(static_cast<unsigned>(args.group_size));  // a division costs more
  const int64_t count = (c.length + args.group_size - 1) >> shift;
  const int64_t at = c.row * (args.k >> shift) + (c.k0 >> shift);
  if (args.mode == Mode::affine) {
    if (args.w_type == DType::bf16) return read_affine_scales<DType::bf16>(args, at, count, to);
    if (args.w_type == DType::f16) return read_affine_scales<DType::f16>(args, at, count, to);
    return read_affine_scales<DType::f32>(args, at, count, to);
  }
  for (int64_t g = 0; g < count; g += 16) {
    const __mmask16 mask = first16(count - g);
    _mm512_store_ps(to.scale + g,
                    _mm512_maskz_mov_ps(mask, read_fp_scales(args, args.scales + at + g, mask)));
  }
}

/// 64 codes in both halves: shifted right by 8 t bits, lane i holds code 8 i + 2 t of the lower
/// eight lanes and code 8 (i - 8) + 2 t + 1 of the upper eight, in its low four bits.
static inline __m512i spread_nibbles(__m256i v) {
  return _mm512_srlv_epi32(_mm512_broadcast_i64x4(v),
                           _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4));
}

static inline __m512i load_nibbles(const uint8_t* at) {
  return spread_nibbles(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}

/// The last `left` codes of a row, fewer than 64. Apart: a test in the loop costs half its speed.
static inline __m512i load_last_nibbles(const uint8_t* at, int64_t left) {
  return spread_nibbles(_mm256_maskz_loadu_epi8((1u << (left / 2)) - 1, at));
}

/// What the sixteen codes of an affine group mean.
static inline __m512 values_of(const ChunkScales& s, int64_t group) {
  const __m512 codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_fmadd_ps(codes, _mm512_set1_ps(s.scale[group]), _mm512_set1_ps(s.bias[group]));
}

static inline __m512 look_up(__m512i v, int t, __m512 table) {
  return _mm512_permutexvar_ps(_mm512_srli_epi32(v, static_cast<unsigned>(8 * t)), table);
}

/// Groups of 16 and 32: 64 codes hold two or four of them, told apart by lane.
static inline void put_nibbles(const Chunk& c, const ChunkScales& s, int64_t j, __m512i v) {
  const bool affine = c.args.mode == Mode::affine;
  const __m512 table =
      affine ? _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
             : _mm512_setr_ps(0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.f, -.5f, -1, -1.5f, -2, -3, -4, -6);
  const bool two = c.args.group_size == 32;
  const __m512i group = two ? _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1)
                            : _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1, 2, 2, 3, 3);
  const int64_t first = two ? 2 * j : 4 * j;
  const __m512 scale = _mm512_permutexvar_ps(group, _mm512_loadu_ps(s.scale + first));
  const __m512 bias =
      affine ? _mm512_permutexvar_ps(group, _mm512_loadu_ps(s.bias + first)) : _mm512_setzero_ps();
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    const __m512 q = look_up(v, t, table);
    _mm512_store_ps(vector_at(c, j * 4 + t),
                    affine ? _mm512_fmadd_ps(q, scale, bias) : _mm512_mul_ps(q, scale));
  }
}

static void decode_nibbles(const Chunk& c, const ChunkScales& s) {
  const uint8_t* bytes = chunk_bytes(c, 4);
  int64_t j = 0;
  for (; j * 64 + 64 <= c.length; ++j) put_nibbles(c, s, j, load_nibbles(bytes + 32 * j));
  if (j * 64 < c.length) put_nibbles(c, s, j, load_last_nibbles(bytes + 32 * j, c.length - 64 * j));
}

/// fma(q, s, b) with its last bit set where it was cut off: rounding that to 16 bits rounds once.
static inline __m512 fma_to_odd(__m512 q, __m512 s, __m512 b) {
  const __m512 down = _mm512_fmadd_round_ps(q, s, b, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  const __m512 up = _mm512_fmadd_round_ps(q, s, b, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
  const __mmask16 odd = _mm512_test_epi32_mask(_mm512_castps_si512(down), _mm512_set1_epi32(1));
  return _mm512_mask_mov_ps(up, odd, down);
}

/// Whether some s*q + b may need more than 24 bits and the result fewer. quantize() makes no such
/// group: its biases are small multiples of their scales.
static inline bool rounds_twice(const Chunk& c, const ChunkScales& s) {
  if (c.args.y_type == DType::f32) return false;
  __mmask16 wide = 0;
  for (int64_t g = 0; g * c.args.group_size < c.length; g += 16) {
    const __m512 scale = _mm512_abs_ps(_mm512_load_ps(s.scale + g));
    const __m512 bias = _mm512_abs_ps(_mm512_load_ps(s.bias + g));
    const __m512 least = _mm512_mul_ps(scale, _mm512_set1_ps(0.125f));
    const __m512 most = _mm512_mul_ps(scale, _mm512_set1_ps(4096));
    const __mmask16 some = _mm512_cmp_ps_mask(bias, _mm512_setzero_ps(), _CMP_NEQ_OQ);
    wide = static_cast<__mmask16>(wide | _mm512_mask_cmp_ps_mask(some, bias, least, _CMP_LT_OQ) |
                                  _mm512_mask_cmp_ps_mask(some, bias, most, _CMP_GT_OQ));
  }
  return wide != 0;
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

template <int kBits, bool kOdd>
static void decode_codes(const Chunk& c, const ChunkScales& s) {
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
      __m512i q;
      if constexpr (kBits == 8) {
        q = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
      } else {
        q = _mm512_broadcast_i32x4(_mm_maskz_loadu_epi8(kLoaded, bytes));
        q = _mm512_and_si512(_mm512_srlv_epi32(_mm512_shuffle_epi8(q, pick), shifts), mask);
      }
      const __m512 code = _mm512_cvtepi32_ps(q);
      _mm512_store_ps(vector_at(c, j),
                      kOdd ? fma_to_odd(code, scale, bias) : _mm512_fmadd_ps(code, scale, bias));
    }
  }
}

template <int kBits>
static inline void decode_affine(const Chunk& c, const ChunkScales& s) {
  if (rounds_twice(c, s)) return decode_codes<kBits, true>(c, s);
  decode_codes<kBits, false>(c, s);
}

/// 32 bytes of E4M3 as float16, where the exponent is 8 too small: exact, subnormals included.
static inline __m512i load_e4m3(const uint8_t* at) {
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  // The sign fills the bits above; the one below the sign belongs to the exponent and is zero.
  const __m512i high = _mm512_slli_epi16(_mm512_cvtepi8_epi16(bytes), 7);
  return _mm512_and_si512(high, _mm512_set1_epi16(static_cast<short>(0xBF80)));
}

/// kFolded: scales are 2^8 times what they mean, as numbers of E4M3 are 2^-8 times.
template <bool kFolded>
static void decode_e4m3(const Chunk& c, const ChunkScales& s) {
  const uint8_t* bytes = chunk_bytes(c, 8);
  for (int64_t g = 0; g * 32 < c.length; ++g, bytes += 32) {
    const __m512 scale = _mm512_set1_ps(s.scale[g]);
    __m256i halves[2];
    _mm512_storeu_si512(halves, load_e4m3(bytes));
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      __m512 value;  // by way of memory, which takes no shuffle
      asm("vcvtph2ps %1, %0" : "=v"(value) : "m"(halves[h]));
      if (!kFolded) value = _mm512_mul_ps(value, _mm512_set1_ps(256));
      _mm512_store_ps(vector_at(c, 2 * g + h), _mm512_mul_ps(value, scale));
    }
  }
}

/// Scales from 2^120 on have no room for 2^8.
static void decode_mxfp8(const Chunk& c, ChunkScales& s) {
  const __m512 room = _mm512_set1_ps(0x1p120f), scale = _mm512_load_ps(s.scale);
  if (_mm512_cmp_ps_mask(scale, room, _CMP_GE_OQ) != 0) return decode_e4m3<false>(c, s);
  _mm512_store_ps(s.scale, _mm512_mul_ps(scale, _mm512_set1_ps(256)));
  decode_e4m3<true>(c, s);
}

static inline bool nibble_order(const MatmulArgs& args) { return args.bits == 4; }

static inline void decode_packed(const Chunk& c) {
  const uint8_t* next = chunk_bytes(c, c.args.bits) + bytes_ahead(c.args, kRows);
  for (int64_t i = 0; i < c.length * c.args.bits / 8; i += 64) _mm_prefetch(next + i, _MM_HINT_T1);
  ChunkScales s;
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
      return decode_nibbles(c, s);
  }
}

template <DType kType>
static void decode_dense_of(const Chunk& c) {
  constexpr int64_t kSize = kType == DType::f32 ? 4 : 2;
  const uint8_t* row = c.args.w + c.row * c.args.w_row_bytes;
  const uint8_t* at = row + c.k0 * kSize;
  int64_t j = 0;
  for (; j * 16 + 16 <= c.length; ++j, at += 16 * kSize) {
    _mm_prefetch(at + 16384, _MM_HINT_T0);  // 12.2 -> 13.9 GB/s at m = 1; at 8 or 64 KiB 13.0
    _mm512_store_ps(vector_at(c, j), load_whole<kType>(at));
  }
  if (j * 16 < c.length)
    _mm512_store_ps(vector_at(c, j),
                    load_f32(row, kType, c.k0 + 16 * j, first16(c.length - 16 * j)));
}

static inline void decode_dense(const Chunk& c) {
  if (c.args.w_type == DType::f32) return decode_dense_of<DType::f32>(c);
  if (c.args.w_type == DType::f16) return decode_dense_of<DType::f16>(c);
  decode_dense_of<DType::bf16>(c);
}

}  // namespace stepless::kernels
