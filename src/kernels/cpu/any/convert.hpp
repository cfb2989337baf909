// f32, f16 and bf16 activations to and from float32 in blocks, written so that plain loops become
// vector code. Static on purpose: every kernel object keeps its own copy.
#pragma once
#include <string.h>

#include "kernels/args.hpp"
#include "kernels/cpu/any/native_lanes.hpp"

namespace stepless::kernels {

/// Floats of a block on the stack: what a kernel widens, computes on and narrows at a time.
static constexpr int64_t kBlock = 256;

static inline int64_t bytes_of(DType type) { return type == DType::f32 ? 4 : 2; }

static inline const uint8_t* element(const void* base, DType type, int64_t index) {
  return static_cast<const uint8_t*>(base) + index * bytes_of(type);
}
static inline uint8_t* element(void* base, DType type, int64_t index) {
  return static_cast<uint8_t*>(base) + index * bytes_of(type);
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static inline float widen_f16(uint16_t code) {
  // Moved up 13 bits the exponent is 112 too small; one exact product repairs it, subnormals too.
  const uint32_t body = (code & 0x7fffu) << 13;
  const uint32_t repaired =
      __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, body) * 0x1p112f);
  // For infinity and NaN the product has the fraction, and bits of the exponent that 255 covers. A
  // choice between two results would be a branch: the product may trap.
  const uint32_t special = static_cast<int32_t>(body) >= 0x0f800000 ? 0x7f800000u : 0u;
  return __builtin_bit_cast(float, repaired | special | (code & 0x8000u) << 16);
}

static inline float widen_bf16(uint16_t code) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(code) << 16);
}

/// Nearest even. All three cases are computed and selected, so that a loop over it has no branch.
static inline uint16_t narrow_f16(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const int32_t size = static_cast<int32_t>(bits & 0x7fffffffu);
  const int32_t normal = (size - 0x38000000 + 0xfff + ((size >> 13) & 1)) >> 13;
  // Subnormal: 0.5 has the step 2^-24, so the adder rounds.
  const float lifted = __builtin_bit_cast(float, size) + 0.5f;
  const int32_t tiny = __builtin_bit_cast(int32_t, lifted) - 0x3f000000;
  const int32_t huge = size > 0x7f800000 ? 0x7e00 : 0x7c00;
  const int32_t finite = size < 0x38800000 ? tiny : normal;
  const int32_t code = size >= 0x477ff000 ? huge : finite;
  return static_cast<uint16_t>(static_cast<uint32_t>(code) | (bits >> 16 & 0x8000u));
}

static inline uint16_t narrow_bf16(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t nearest = bits + 0x7fffu + (bits >> 16 & 1u);
  const bool nan = static_cast<int32_t>(bits & 0x7fffffffu) > 0x7f800000;
  return static_cast<uint16_t>((nan ? bits | 0x400000u : nearest) >> 16);
}

typedef uint16_t NativeCodes __attribute__((vector_size(kNativeLanes * 2)));
typedef uint32_t NativeWords __attribute__((vector_size(kNativeLanes * 4)));
typedef int32_t NativeInts __attribute__((vector_size(kNativeLanes * 4)));

static inline void widen_bf16s(const uint8_t* from, int64_t n, float* to) {
  int64_t i = 0;
  for (; i + kNativeLanes <= n; i += kNativeLanes) {
    NativeCodes codes;
    __builtin_memcpy(&codes, from + 2 * i, sizeof codes);
    const NativeWords words = __builtin_convertvector(codes, NativeWords) << 16;
    __builtin_memcpy(to + i, &words, sizeof words);
  }
  for (; i < n; ++i) {
    uint16_t code;
    __builtin_memcpy(&code, from + 2 * i, sizeof code);
    to[i] = widen_bf16(code);
  }
}

/// As narrow_bf16(), in the upper halves of vectors of words; Ints: their signed twin.
template <class Ints, class Words>
static inline Words rounded_bf16s(Words bits) {
  const Ints size = __builtin_bit_cast(Ints, bits & 0x7fffffffu);
  return size > 0x7f800000 ? bits | 0x400000u : bits + 0x7fffu + ((bits >> 16) & 1u);
}

static inline void narrow_bf16s(const float* from, int64_t n, uint8_t* to) {
  int64_t i = 0;
  for (; i + kNativeLanes <= n; i += kNativeLanes) {
    NativeWords bits;
    __builtin_memcpy(&bits, from + i, sizeof bits);
    const NativeCodes codes =
        __builtin_convertvector(rounded_bf16s<NativeInts>(bits) >> 16, NativeCodes);
    __builtin_memcpy(to + 2 * i, &codes, sizeof codes);
  }
  for (; i < n; ++i) {
    const uint16_t code = narrow_bf16(from[i]);
    __builtin_memcpy(to + 2 * i, &code, sizeof code);
  }
}

/// n elements at any address, as float32.
static inline void widen(const uint8_t* from, DType type, int64_t n, float* to) {
  if (type == DType::f32) {
    memcpy(to, from, static_cast<size_t>(n) * 4);
    return;
  }
  if (type == DType::bf16) return widen_bf16s(from, n, to);
  for (int64_t at = 0; at < n; at += kBlock) {
    uint16_t codes[kBlock];
    const int64_t count = least(kBlock, n - at);
    memcpy(codes, from + at * 2, static_cast<size_t>(count) * 2);
    for (int64_t i = 0; i < count; ++i) to[at + i] = widen_f16(codes[i]);
  }
}

/// n floats, each rounded once, to any address.
static inline void narrow(const float* from, DType type, int64_t n, uint8_t* to) {
  if (type == DType::f32) {
    memcpy(to, from, static_cast<size_t>(n) * 4);
    return;
  }
  if (type == DType::bf16) return narrow_bf16s(from, n, to);
  for (int64_t at = 0; at < n; at += kBlock) {
    uint16_t codes[kBlock];
    const int64_t count = least(kBlock, n - at);
    for (int64_t i = 0; i < count; ++i) codes[i] = narrow_f16(from[at + i]);
    memcpy(to + at * 2, codes, static_cast<size_t>(count) * 2);
  }
}

}  // namespace stepless::kernels
