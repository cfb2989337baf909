// Numbers out of stored bytes, for the portable kernels: element types, packed codes, scales.
// Decoded weights are float32 and equal fma(s, q, b) rounded once. Everything is static: an object
// exports its row's symbol and no other.
#pragma once
#include <stddef.h>
#include <string.h>

#include "kernels/cpu/any/convert.hpp"

namespace stepless::kernels {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed rows are little-endian");

/// Decoded values go to a float32 output, or to one of 16 bits. The second asks for round-to-odd
/// wherever float32 cannot hold s*q+b: rounded again to 11 or 8 bits, an odd float32 gives what one
/// rounding would.
enum class Rounding : uint8_t { nearest, odd };

static inline Rounding rounding_for(DType y_type) {
  return y_type == DType::f32 ? Rounding::nearest : Rounding::odd;
}

static inline uint32_t bits_of(float value) { return __builtin_bit_cast(uint32_t, value); }
static inline float float_of(uint32_t bits) { return __builtin_bit_cast(float, bits); }

static inline uint16_t load_u16(const uint8_t* from) {
  uint16_t value;
  memcpy(&value, from, 2);
  return value;
}

static inline float load_f32(const uint8_t* from) {
  float value;
  memcpy(&value, from, 4);
  return value;
}

/// One f32, f16 or bf16 element at any address.
static inline float load_element(const uint8_t* from, DType type) {
  if (type == DType::f32) return load_f32(from);
  return type == DType::f16 ? widen_f16(load_u16(from)) : widen_bf16(load_u16(from));
}

/// a + b rounded to odd: if inexact, the neighbour whose last bit is set. A later rounding to at
/// most 51 bits then gives what one rounding of the exact sum would.
static inline double add_odd(double a, double b) {
  const double sum = a + b;
  const double back = sum - a;
  const double error =
      (a - (sum - back)) + (b - back);  // exact (Knuth); NaN when sum is not finite
  uint64_t bits = __builtin_bit_cast(uint64_t, sum);
  if ((error > 0 || error < 0) && (bits & 1u) == 0) bits += (error > 0) == (sum > 0) ? 1u : ~0ull;
  return __builtin_bit_cast(double, bits);
}

/// A float64 (rounded to odd or exact) as float32, to nearest or to odd.
static inline float to_float(double value, Rounding rounding) {
  const float nearest = static_cast<float>(value);
  const double back = static_cast<double>(nearest);
  if (rounding == Rounding::nearest || back == value || value != value) return nearest;
  const bool beyond = (value > 0) == (back > value);
  return float_of((beyond ? bits_of(nearest) - 1u : bits_of(nearest)) | 1u);
}

/// fma(s, q, b) for a code of at most 8 bits: the product is exact in float64.
static inline float affine_value(float s, uint8_t q, float b, Rounding rounding) {
  return to_float(add_odd(static_cast<double>(s) * static_cast<double>(q), static_cast<double>(b)),
                  rounding);
}

/// The exponent (biased as float32's) of the last bit of a value that came from `type`; large for
/// zero.
static inline int last_bit_exponent(float value, DType type) {
  const int field = static_cast<int>((bits_of(value) >> 23) & 255u);
  if (value == 0) return 1 << 20;
  return (field > 0 ? field : 1) - (type == DType::f32 ? 23 : type == DType::f16 ? 10 : 7);
}

/// How many binary digits hold s*q+b exactly for every code; a thousand when a float32 might
/// overflow.
static inline int digits_needed(float s, float b, int bits, DType w_type) {
  const float most = __builtin_fabsf(s) * static_cast<float>((1 << bits) - 1) + __builtin_fabsf(b);
  const int top = static_cast<int>((bits_of(most) >> 23) & 255u);
  const int s_last = last_bit_exponent(s, w_type), b_last = last_bit_exponent(b, w_type);
  return top == 255 ? 1000 : top - (s_last < b_last ? s_last : b_last) + 1;
}

static inline void affine_group(const uint8_t* __restrict codes, int64_t count, float s, float b,
                                int bits, DType w_type, Rounding rounding, float* __restrict to) {
  const int digits = digits_needed(s, b, bits, w_type);
  // A 16-bit s times q has at most 19 digits, so that the sum is all that float32 rounds.
  const bool rounds_once = rounding == Rounding::nearest && w_type != DType::f32 && digits < 1000;
  if (digits <= 24 || rounds_once) {
    for (int64_t i = 0; i < count; ++i) to[i] = s * static_cast<float>(codes[i]) + b;
  } else if (digits <= 53 && rounding == Rounding::nearest) {
    const double scale = static_cast<double>(s), bias = static_cast<double>(b);
    for (int64_t i = 0; i < count; ++i)
      to[i] = static_cast<float>(scale * static_cast<double>(codes[i]) + bias);
  } else {
    float values[256];
    for (int i = 0; i < (1 << bits); ++i)
      values[i] = affine_value(s, static_cast<uint8_t>(i), b, rounding);
    for (int64_t i = 0; i < count; ++i) to[i] = values[codes[i]];
  }
}

/// Eight codes from `Bits` bytes, one per byte of the result: fours, pairs, then single codes move
/// apart.
template <int Bits>
static inline uint64_t spread(const uint8_t* from) {
  uint64_t word = 0;
  for (int i = 0; i < Bits; ++i) word |= static_cast<uint64_t>(from[i]) << (8 * i);
  if (Bits == 8) return word;
  constexpr uint64_t four = (1ull << (4 * Bits % 64)) - 1, two = (1ull << (2 * Bits % 64)) - 1;
  constexpr uint64_t one = (1ull << Bits) - 1;
  word = (word & four) | ((word & (four << (4 * Bits % 64))) << (32 - 4 * Bits % 32));
  constexpr uint64_t twos = two | (two << 32);
  word = (word & twos) | ((word & (twos << (2 * Bits))) << (16 - 2 * Bits));
  constexpr uint64_t ones = one | (one << 16) | (one << 32) | (one << 48);
  return (word & ones) | ((word & (ones << Bits)) << (8 - Bits));
}

/// `count` codes (a multiple of 8) of an LSB-first stream that starts at a byte.
template <int Bits>
static inline void unpack_bits(const uint8_t* __restrict from, int64_t count,
                               uint8_t* __restrict codes) {
  for (int64_t i = 0; i < count; i += 8, from += Bits) {
    const uint64_t eight = spread<Bits>(from);
    memcpy(codes + i, &eight, 8);
  }
}

static inline void unpack(const uint8_t* __restrict from, int bits, int64_t count,
                          uint8_t* __restrict codes) {
  if (bits == 4) {  // two plain streams, which compilers turn into vector code
    for (int64_t i = 0; i < count / 2; ++i) {
      codes[2 * i] = from[i] & 15u;
      codes[2 * i + 1] = static_cast<uint8_t>(from[i] >> 4);
    }
    return;
  }
  if (bits == 1) unpack_bits<1>(from, count, codes);
  if (bits == 2) unpack_bits<2>(from, count, codes);
  if (bits == 3) unpack_bits<3>(from, count, codes);
  if (bits == 5) unpack_bits<5>(from, count, codes);
  if (bits == 6) unpack_bits<6>(from, count, codes);
  if (bits == 8) memcpy(codes, from, static_cast<size_t>(count));
}

struct E2m1Pairs {
  float of[256][2];  // both elements of a byte, the low nibble first
};
static consteval E2m1Pairs make_e2m1_pairs() {
  constexpr float magnitudes[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  E2m1Pairs pairs{};
  for (unsigned byte = 0; byte < 256; ++byte)
    for (unsigned half = 0; half < 2; ++half) {
      const unsigned code = (byte >> (4 * half)) & 15u;
      pairs.of[byte][half] = code >= 8 ? -magnitudes[code - 8] : magnitudes[code];
    }
  return pairs;
}
static constexpr E2m1Pairs kE2m1Pairs = make_e2m1_pairs();

struct E4m3Values {
  float of[256];
};
static consteval E4m3Values make_e4m3_values() {
  E4m3Values values{};
  for (unsigned code = 0; code < 256; ++code) {
    const unsigned exponent = (code >> 3) & 15u, fraction = code & 7u;
    float value = static_cast<float>(exponent == 0 ? fraction : 8 + fraction) / 512;  // 2^-9
    for (unsigned e = 1; e < exponent; ++e) value *= 2;
    if ((code & 127u) == 127u) value = __builtin_nanf("");
    values.of[code] = code >= 128 ? -value : value;
  }
  return values;
}
static constexpr E4m3Values kE4m3 = make_e4m3_values();

/// The scale of a group in the fp modes.
static inline float fp_scale(uint8_t byte, Mode mode, float tensor_scale) {
  if (mode == Mode::nvfp4) return kE4m3.of[byte] * tensor_scale;
  if (byte == 255) return __builtin_nanf("");
  return byte == 0 ? 0x1p-127f : float_of(static_cast<uint32_t>(byte) << 23);
}

/// The most elements one call of a decode function makes; a multiple of every group size.
static constexpr int64_t kDecodeChunk = 512;

/// Elements [first, first + count) of row `row` of a packed matrix with `groups` groups in a row.
/// `first` and `count` are multiples of the group size, count at most kDecodeChunk.
static inline void decode_packed(const MatmulArgs& args, int64_t groups, int64_t row, int64_t first,
                                 int64_t count, Rounding rounding, float* __restrict to) {
  const uint8_t* const from = args.w + row * args.w_row_bytes + first * args.bits / 8;
  const int64_t g = args.group_size;
  const int64_t group = row * groups + first / g;
  if (args.mode == Mode::affine) {
    uint8_t codes[kDecodeChunk];
    unpack(from, args.bits, count, codes);
    const int64_t size = bytes_of(args.w_type);
    for (int64_t i = 0; i < count / g; ++i) {
      const float s = load_element(args.scales + (group + i) * size, args.w_type);
      const float b = load_element(args.biases + (group + i) * size, args.w_type);
      affine_group(codes + i * g, g, s, b, args.bits, args.w_type, rounding, to + i * g);
    }
    return;
  }
  if (args.bits == 4)
    for (int64_t i = 0; i < count / 2; ++i) memcpy(to + 2 * i, kE2m1Pairs.of[from[i]], 8);
  else
    for (int64_t i = 0; i < count; ++i) to[i] = kE4m3.of[from[i]];
  for (int64_t i = 0; i < count / g; ++i) {
    const float s = fp_scale(args.scales[group + i], args.mode, args.tensor_scale);
    for (int64_t j = i * g; j < (i + 1) * g; ++j) to[j] *= s;
  }
}

/// Elements [first, first + count) of row `row` of a dense matrix.
static inline void decode_dense(const MatmulArgs& args, int64_t row, int64_t first, int64_t count,
                                float* __restrict to) {
  widen(args.w + row * args.w_row_bytes + first * bytes_of(args.w_type), args.w_type, count, to);
}

}  // namespace stepless::kernels
