// f32, f16 and bf16 activations to and from float32 in blocks, written so that plain loops become
// vector code. Static on purpose: every kernel object keeps its own copy.
#pragma once
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

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
typedef uint16_t NativePairs __attribute__((vector_size(kNativeLanes * 4)));
typedef uint32_t NativeWords __attribute__((vector_size(kNativeLanes * 4)));
typedef float NativeNumbers __attribute__((vector_size(kNativeLanes * 4)));

/// gcc 12 makes two halves of __builtin_convertvector, and joins them.
static inline NativeWords load_codes(const uint8_t* from) {
#if defined(__AVX512F__)
  const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return __builtin_bit_cast(NativeWords, _mm512_cvtepu16_epi32(codes));
#elif defined(__AVX2__)
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return __builtin_bit_cast(NativeWords, _mm256_cvtepu16_epi32(codes));
#else
  NativeCodes codes;
  __builtin_memcpy(&codes, from, sizeof codes);
  return __builtin_convertvector(codes, NativeWords);
#endif
}

static inline void widen_bf16s(const uint8_t* from, int64_t n, float* to) {
  int64_t i = 0;
  for (; i + kNativeLanes <= n; i += kNativeLanes) {
    const NativeWords words = load_codes(from + 2 * i) << 16;
    __builtin_memcpy(to + i, &words, sizeof words);
  }
  // Vectors of 4 here and scalars in the loop of an operation, or the other way round, made a load
  // wait for the stores it spans: a head of 20 pairs was turned in twice the time.
  for (; i < n; ++i) {
    uint16_t code;
    __builtin_memcpy(&code, from + 2 * i, sizeof code);
    to[i] = widen_bf16(code);
  }
}

/// As narrow_bf16(), in the upper halves of vectors of words; Numbers: the floats they are.
template <class Numbers, class Words>
static inline Words rounded_bf16s(Words bits) {
  const Numbers numbers = __builtin_bit_cast(Numbers, bits);
  return numbers != numbers ? bits | 0x400000u : bits + 0x7fffu + ((bits >> 16) & 1u);
}

static inline NativeWords rounded_words(const float* from) {
  NativeWords bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  return rounded_bf16s<NativeNumbers>(bits);
}

/// The upper halves of two vectors of words: VPERMI2W, or a shift of each and VPACKUSDW. To convert
/// each of them takes twice the instructions, most of them shuffles.
static inline NativePairs upper_halves(NativeWords a, NativeWords b) {
  const NativePairs low = __builtin_bit_cast(NativePairs, a);
  const NativePairs high = __builtin_bit_cast(NativePairs, b);
#if defined(__AVX512F__)
  return __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29,
                                 31, 33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61,
                                 63);
#elif defined(__AVX2__)
  return __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29,
                                 31);
#else
  return __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
#endif
}

static inline void narrow_bf16s(const float* from, int64_t n, uint8_t* to) {
  int64_t i = 0;
  for (; i + 2 * kNativeLanes <= n; i += 2 * kNativeLanes) {
    const NativePairs codes =
        upper_halves(rounded_words(from + i), rounded_words(from + i + kNativeLanes));
    __builtin_memcpy(to + 2 * i, &codes, sizeof codes);
  }
  if (n - i >= kNativeLanes) {
    const NativeCodes codes = __builtin_convertvector(rounded_words(from + i) >> 16, NativeCodes);
    __builtin_memcpy(to + 2 * i, &codes, sizeof codes);
    i += kNativeLanes;
  }
  for (; i < n; ++i) {
    const uint16_t code = narrow_bf16(from[i]);
    __builtin_memcpy(to + 2 * i, &code, sizeof code);
  }
}

static inline void widen_f16s(const uint8_t* from, int64_t n, float* to) {
  int64_t i = 0;
#if defined(__F16C__)  // unlike with widen_f16() a NaN is quiet at once
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(
        to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 2 * i))));
#endif
  for (; i < n; ++i) {
    uint16_t code;
    __builtin_memcpy(&code, from + 2 * i, sizeof code);
    to[i] = widen_f16(code);
  }
}

static inline void narrow_f16s(const float* from, int64_t n, uint8_t* to) {
  int64_t i = 0;
#if defined(__F16C__)  // VCVTPS2PH would keep what a NaN carries; narrow_f16() keeps its sign alone
  for (; i + 8 <= n; i += 8) {
    const __m256 x = _mm256_loadu_ps(from + i);
    const __m256 nan =
        _mm256_or_ps(_mm256_and_ps(x, _mm256_set1_ps(-0.0f)), _mm256_set1_ps(__builtin_nanf("")));
    const __m256 known = _mm256_blendv_ps(x, nan, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 2 * i),
                     _mm256_cvtps_ph(known, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
#endif
  for (; i < n; ++i) {
    const uint16_t code = narrow_f16(from[i]);
    __builtin_memcpy(to + 2 * i, &code, sizeof code);
  }
}

/// Of a memcpy whose length it does not know gcc 12 makes REP MOVS, which is slow to begin, and of
/// a plain loop such a memcpy.
static inline void copy_floats(const void* from, int64_t n, void* to) {
  const uint8_t* a = static_cast<const uint8_t*>(from);
  uint8_t* b = static_cast<uint8_t*>(to);
  for (; n >= 16; n -= 16, a += 64, b += 64) {
    __builtin_memcpy(b, a, 64);
    asm volatile("" ::: "memory");  // or this is that memcpy
  }
  if ((n & 8) != 0) __builtin_memcpy(b, a, 32), a += 32, b += 32;
  if ((n & 4) != 0) __builtin_memcpy(b, a, 16), a += 16, b += 16;
  if ((n & 2) != 0) __builtin_memcpy(b, a, 8), a += 8, b += 8;
  if ((n & 1) != 0) __builtin_memcpy(b, a, 4);
}

/// n elements at any address, as float32.
static inline void widen(const uint8_t* from, DType type, int64_t n, float* to) {
  if (type == DType::f32) return copy_floats(from, n, to);
  if (type == DType::bf16) return widen_bf16s(from, n, to);
  widen_f16s(from, n, to);
}

/// n floats, each rounded once, to any address.
static inline void narrow(const float* from, DType type, int64_t n, uint8_t* to) {
  if (type == DType::f32) return copy_floats(from, n, to);
  if (type == DType::bf16) return narrow_bf16s(from, n, to);
  narrow_f16s(from, n, to);
}

}  // namespace stepless::kernels
