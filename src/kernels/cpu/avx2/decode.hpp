// A chunk of one weight row, packed or dense, as float32 in vectors of 8 spaced kRows apart, so
// that a tile of rows lies interleaved. 4-bit codes come in nibble order within 64 (load_nibbles),
// all else in the order of the checkpoint.
#pragma once
#include "kernels/cpu/avx2/numbers.hpp"

namespace stepless::kernels {

static constexpr int kRows = 4;         // weight rows of a tile
static constexpr int64_t kChunk = 512;  // a multiple of every group size
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

/// 64 codes as two planes of bytes: byte 4 i + t of `even` is code 8 i + 2 t, of `odd` code 8 i + 2
/// t + 1.
struct Nibbles {
  __m256i even, odd;
};

static inline Nibbles split_nibbles(__m256i v) {
  const __m256i low = _mm256_set1_epi8(15);
  return {_mm256_and_si256(v, low), _mm256_and_si256(_mm256_srli_epi16(v, 4), low)};
}

static inline Nibbles load_nibbles(const uint8_t* at) {
  return split_nibbles(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}

/// The last `left` codes of a row, fewer than 64.
static inline Nibbles load_last_nibbles(const uint8_t* at, int64_t left) {
  return split_nibbles(
      _mm256_setr_m128i(load_bytes(at, left / 2), load_bytes(at + 16, left / 2 - 16)));
}

/// Codes 8 i + t in 32-bit lane i; t is a constant.
static inline __m256i take_nibbles(const Nibbles& n, int t) {
  const int b = t / 2;
  const __m256i pick = _mm256_add_epi32(
      _mm256_setr_epi32(-256, -252, -248, -244, -256, -252, -248, -244), _mm256_set1_epi32(b));
  return _mm256_shuffle_epi8(t % 2 == 0 ? n.even : n.odd, pick);
}

/// Groups of 64 and 128.
static inline void put_wide(const Chunk& c, const ChunkScales& s, int64_t j, const Nibbles& n) {
  const int64_t g = c.args.group_size == 64 ? j : j / 2;
  const __m256 scale = _mm256_set1_ps(s.scale[g]), bias = _mm256_set1_ps(s.bias[g]);
#pragma GCC unroll 8
  for (int t = 0; t < 8; ++t)
    put(c, j * 8 + t, _mm256_fmadd_ps(_mm256_cvtepi32_ps(take_nibbles(n, t)), scale, bias));
}

/// Smaller groups: 64 codes hold two or four of them, told apart by lane.
static inline void put_narrow(const Chunk& c, const ChunkScales& s, int64_t j, const Nibbles& n) {
  const bool affine = c.args.mode == Mode::affine, two = c.args.group_size == 32;
  const __m256i group =
      two ? _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1) : _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  const int64_t first = two ? 2 * j : 4 * j;
  const __m256 scale = _mm256_permutevar8x32_ps(_mm256_loadu_ps(s.scale + first), group);
  if (affine) {
    const __m256 bias = _mm256_permutevar8x32_ps(_mm256_loadu_ps(s.bias + first), group);
#pragma GCC unroll 8
    for (int t = 0; t < 8; ++t)
      put(c, j * 8 + t, _mm256_fmadd_ps(_mm256_cvtepi32_ps(take_nibbles(n, t)), scale, bias));
    return;
  }
  const __m256 elements = _mm256_setr_ps(0, .5f, 1, 1.5f, 2, 3, 4, 6);
#pragma GCC unroll 8
  for (int t = 0; t < 8; ++t) {
    const __m256i q = take_nibbles(n, t);
    const __m256i sign = _mm256_and_si256(_mm256_slli_epi32(q, 28), _mm256_set1_epi32(INT32_MIN));
    const __m256 value =
        _mm256_xor_ps(_mm256_permutevar8x32_ps(elements, q), _mm256_castsi256_ps(sign));
    put(c, j * 8 + t, _mm256_mul_ps(value, scale));
  }
}

template <void (*kPut)(const Chunk&, const ChunkScales&, int64_t, const Nibbles&)>
static void decode_nibbles(const Chunk& c, const ChunkScales& s) {
  const uint8_t* bytes = chunk_bytes(c, 4);
  int64_t j = 0;
  for (; j * 64 + 64 <= c.length; ++j) kPut(c, s, j, load_nibbles(bytes + 32 * j));
  if (j * 64 < c.length) kPut(c, s, j, load_last_nibbles(bytes + 32 * j, c.length - 64 * j));
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

/// How to bring 16 codes of 2 * kBits bytes into 32-bit lanes: two bytes for each lane, and a
/// shift.
template <int kBits>
struct Spread {
  alignas(32) uint8_t pick[64] = {};
  alignas(32) int32_t shift[16] = {};
  constexpr Spread() {
    for (int i = 0; i < 64; ++i) {
      const int from = i / 4 * kBits / 8 + i % 4;
      pick[i] = static_cast<uint8_t>(i % 4 < 2 && from < 16 ? from : 0x80);
      shift[i / 4] = i / 4 * kBits % 8;
    }
  }
};

template <int kBits, bool kOdd>
static void decode_codes(const Chunk& c, const ChunkScales& s) {
  static constexpr Spread<kBits> kSpread;
  const __m256i mask = _mm256_set1_epi32((1 << kBits) - 1);
  const uint8_t* bytes = chunk_bytes(c, kBits);
  int64_t left = c.length * kBits / 8;
  const int64_t per = c.args.group_size / 16;
  for (int64_t j = 0, g = 0; j * 16 < c.length; ++g) {
    const __m256 scale = _mm256_set1_ps(s.scale[g]), bias = _mm256_set1_ps(s.bias[g]);
    for (const int64_t end = j + per; j < end; ++j, bytes += 2 * kBits, left -= 2 * kBits) {
      const __m256i packed = _mm256_broadcastsi128_si256(load_bytes(bytes, left));
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const __m256i pick = _mm256_load_si256(reinterpret_cast<const __m256i*>(kSpread.pick) + h);
        const __m256i shift =
            _mm256_load_si256(reinterpret_cast<const __m256i*>(kSpread.shift) + h);
        const __m256i q =
            _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi8(packed, pick), shift), mask);
        const __m256 code = _mm256_cvtepi32_ps(q);
        put(c, 2 * j + h,
            kOdd ? fma_to_odd(code, scale, bias) : _mm256_fmadd_ps(code, scale, bias));
      }
    }
  }
}

template <int kBits>
static inline void decode_affine(const Chunk& c, const ChunkScales& s) {
  if (rounds_twice(c, s)) return decode_codes<kBits, true>(c, s);
  decode_codes<kBits, false>(c, s);
}

/// Affine 8-bit: a byte is a code.
static void decode_bytes(const Chunk& c, const ChunkScales& s) {
  const uint8_t* bytes = chunk_bytes(c, 8);
  const int shift = __builtin_ctz(static_cast<unsigned>(c.args.group_size)) - 3;
  for (int64_t j = 0; j * 8 < c.length; ++j) {
    const __m128i v = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + 8 * j));
    put(c, j,
        _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v)),
                        _mm256_set1_ps(s.scale[j >> shift]), _mm256_set1_ps(s.bias[j >> shift])));
  }
}

/// kFolded: scales are 2^8 times what they mean, as numbers of E4M3 are 2^-8 times.
template <bool kFolded>
static void decode_e4m3(const Chunk& c, const ChunkScales& s) {
  const uint8_t* bytes = chunk_bytes(c, 8);
  for (int64_t j = 0; j * 16 < c.length; ++j) {
    const __m256i both =
        e4m3_to_f16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 16 * j)));
    const __m128i half[2] = {_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1)};
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      __m256 value = _mm256_cvtph_ps(half[h]);
      if (!kFolded) value = _mm256_mul_ps(value, _mm256_set1_ps(256));
      put(c, 2 * j + h, _mm256_mul_ps(value, _mm256_set1_ps(s.scale[j / 2])));
    }
  }
}

/// Scales from 2^120 on have no room for 2^8.
static void decode_mxfp8(const Chunk& c, ChunkScales& s) {
  __m256 most = _mm256_setzero_ps();
  for (int64_t g = 0; g * 32 < c.length; g += 8)
    most = _mm256_max_ps(most, _mm256_load_ps(s.scale + g));
  const __m256 over = _mm256_cmp_ps(most, _mm256_set1_ps(0x1p120f), _CMP_GE_OQ);
  if (_mm256_movemask_ps(over) != 0) return decode_e4m3<false>(c, s);
  for (int64_t g = 0; g * 32 < c.length; g += 8)
    _mm256_store_ps(s.scale + g, _mm256_mul_ps(_mm256_load_ps(s.scale + g), _mm256_set1_ps(256)));
  decode_e4m3<true>(c, s);
}

static inline bool nibble_order(const MatmulArgs& args) { return args.bits == 4; }

static inline void decode_packed(const Chunk& c) {
  const uint8_t* next = chunk_bytes(c, c.args.bits) + bytes_ahead(c.args);
  for (int64_t i = 0; i < c.length * c.args.bits / 8; i += 64)
    _mm_prefetch(reinterpret_cast<const char*>(next + i), _MM_HINT_T1);
  static constexpr void (*kByBits[])(const Chunk&, const ChunkScales&) = {
      nullptr, decode_affine<1>, decode_affine<2>, decode_affine<3>,
      nullptr, decode_affine<5>, decode_affine<6>};
  ChunkScales s;
  read_scales(c, s);
  if (c.args.bits == 4)
    return c.args.group_size >= 64 ? decode_nibbles<put_wide>(c, s)
                                   : decode_nibbles<put_narrow>(c, s);
  if (c.args.mode == Mode::mxfp8) return decode_mxfp8(c, s);
  if (c.args.bits != 8) return kByBits[c.args.bits](c, s);
  rounds_twice(c, s) ? decode_codes<8, true>(c, s) : decode_bytes(c, s);
}

static inline void decode_dense(const Chunk& c) {
  const DType type = c.args.w_type;
  const uint8_t* row = c.args.w + c.row * c.args.w_row_bytes;
  const int64_t size = type == DType::f32 ? 4 : 2;
  int64_t j = 0;
  for (; j * 8 + 8 <= c.length; ++j) {
    const uint8_t* at = row + (c.k0 + 8 * j) * size;
    _mm_prefetch(reinterpret_cast<const char*>(at + 16384), _MM_HINT_T0);
    put(c, j,
        type == DType::f32
            ? _mm256_loadu_ps(reinterpret_cast<const float*>(at))
            : half_to_f32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)), type));
  }
  if (j * 8 < c.length) put(c, j, load_f32(row, type, c.k0 + 8 * j, c.length - 8 * j));
}

}  // namespace stepless::kernels
