// Four lanes for attention (SSE2, NEON by GCC vector types).
#pragma once
#include "kernels/cpu/any/attn_frame.hpp"

namespace stepless::kernels {
namespace {

struct Portable {
  static constexpr int L = 4, kDots = 8;
  static constexpr int kTileQueries = 4, kTileVectors = 2;  // eight sums, two keys, a query
  using F = Floats<4>;
  using U = Lanes<4>::U;
  template <int Q>
  static constexpr int width() {
    return 4 / Q;  // eight accumulators: sixteen registers hold them and their operands
  }

  static F fma(F a, F b, F c) { return a * b + c; }

  static F larger(F a, F b) { return a > b ? a : b; }
  static float largest(F v) {
    float most = v[0];
    for (int l = 1; l < L; ++l) most = v[l] > most ? v[l] : most;
    return most;
  }
  static float total(F v) { return (v[0] + v[2]) + (v[1] + v[3]); }

  /// 0 where subnormals begin: they cost an assist each on some processors.
  static constexpr float kExpUnit = 1.0f;
  static F exp(F x) {
    const F low = splat<L>(-87.33f);
    const F value = exp_of<L>(x < low ? low : x);
    return x < low ? F{} : value;
  }

  static F from_f16(const uint8_t* p) {
    typedef uint16_t Codes __attribute__((vector_size(8)));
    Codes codes;
    memcpy(&codes, p, sizeof codes);
    const U code = __builtin_convertvector(codes, U);
    const U body = (code & 0x7fffu) << 13;
    const U repaired = __builtin_bit_cast(U, __builtin_bit_cast(F, body) * 0x1p112f);
    const U value = body >= 0x0f800000u ? body | 0x7f800000u : repaired;
    return __builtin_bit_cast(F, value | (code & 0x8000u) << 16);
  }

  template <DType type>
  static void load2(const uint8_t* p, F& a, F& b) {
    if constexpr (type == DType::f32) {
      memcpy(&a, p, sizeof a);
      memcpy(&b, p + sizeof a, sizeof b);
    } else if constexpr (type == DType::f16) {
      a = from_f16(p);
      b = from_f16(p + 8);
    } else {
      U pairs;
      memcpy(&pairs, p, sizeof pairs);
      a = __builtin_bit_cast(F, pairs << 16);
      b = __builtin_bit_cast(F, pairs & 0xffff0000u);
    }
  }

  template <DType type>
  static void load2_part(const uint8_t* p, int64_t n, F& a, F& b) {
    uint8_t whole[32] = {};
    memcpy(whole, p, static_cast<size_t>(n * bytes_of(type)));
    load2<type>(whole, a, b);
  }

  template <int bits, DType type>
  static void codes2(const uint8_t* p, F& a, F& b) {
    typedef uint8_t Bytes __attribute__((vector_size(4)));
    typedef uint16_t Halves __attribute__((vector_size(8)));
    using I = Lanes<4>::I;
    I low, high;
    if constexpr (bits == 8 && type == DType::bf16) {
      Halves pairs;
      memcpy(&pairs, p, sizeof pairs);
      const I codes = __builtin_convertvector(pairs, I);
      low = codes & 255, high = codes >> 8;
    } else {
      Bytes bytes;
      memcpy(&bytes, p, sizeof bytes);
      low = __builtin_convertvector(bytes, I);
      if constexpr (bits == 8) {
        memcpy(&bytes, p + 4, sizeof bytes);
        high = __builtin_convertvector(bytes, I);
      } else {
        high = low >> 4, low = low & 15;
        if constexpr (type != DType::bf16) {
          const I even = low, odd = high;
          low = __builtin_shufflevector(even, odd, 0, 4, 1, 5);
          high = __builtin_shufflevector(even, odd, 2, 6, 3, 7);
        }
      }
    }
    a = __builtin_convertvector(low, F);
    b = __builtin_convertvector(high, F);
  }

  /// The product is exact for scales of 16 bits; with 24 the sum is made in float64.
  template <DType type>
  static F decode(F codes, float scale, float bias) {
    if constexpr (type != DType::f32) return codes * scale + bias;
    F value;
    for (int i = 0; i < L; ++i)
      value[i] = static_cast<float>(static_cast<double>(scale) * static_cast<double>(codes[i]) +
                                    static_cast<double>(bias));
    return value;
  }

  template <int bits, DType type>
  static void decode2(const uint8_t* p, float scale, float bias, F& a, F& b) {
    codes2<bits, type>(p, a, b);
    a = decode<type>(a, scale, bias);
    b = decode<type>(b, scale, bias);
  }

  static F four_sums(const F* v) {
    const F ab = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5) +
                 __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    const F cd = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5) +
                 __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) +
           __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
  }

  /// sums() adds lanes 0 and 2, 1 and 3, then both.
  static constexpr int lane_at(int place) { return (place & 1) << 1 | place >> 1; }

  static void turn(F* v) {
    const F a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5);
    const F b = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    const F c = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
    const F d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    v[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    v[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    v[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    v[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
  }

  static void sums(const F* acc, float* out) {
    store<4>(out, four_sums(acc));
    store<4>(out + 4, four_sums(acc + 4));
  }
};

}  // namespace
}  // namespace stepless::kernels
