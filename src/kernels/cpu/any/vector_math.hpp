// exp, tanh and the normal distribution on L float lanes (GCC vector types: SSE2 and NEON at L = 4,
// AVX2 at 8, AVX-512 at 16). The bits do not depend on L. Own minimax fits; internal linkage, so
// every kernel object keeps its own copy.
#pragma once
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "kernels/args.hpp"
#include "kernels/cpu/any/native_lanes.hpp"

namespace stepless::kernels {
namespace {

template <int L>
struct Lanes {
  typedef float F __attribute__((vector_size(L * 4)));
  typedef int32_t I __attribute__((vector_size(L * 4)));
  typedef uint32_t U __attribute__((vector_size(L * 4)));
};

template <int L>
using Floats = typename Lanes<L>::F;

template <int L>
inline Floats<L> load(const float* from) {
  Floats<L> value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

template <int L>
inline void store(float* to, Floats<L> value) {
  __builtin_memcpy(to, &value, sizeof value);
}

/// All lanes the same.
template <int L>
inline Floats<L> splat(float value) {
  return value - Floats<L>{};
}

/// e^(x - n ln 2) for the whole numbers n next to x / ln 2, of N vectors in step. fma(a, b, c):
/// a * b + c, fused or not. (With each step as a lambda gcc 12 keeps vectors in memory.)
template <int L, int N, class Fma>
inline void exp_of_rests(const Floats<L>* x, const Floats<L>* n, Floats<L>* to, Fma fma) {
  using F = Floats<L>;
  F r[N], q[N];
  // ln 2 in two parts; the first has 9 bits, so that its product is exact.
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) q[i] = fma(n[i], splat<L>(-0.693359375f), x[i]);
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) r[i] = fma(n[i], splat<L>(2.12194440e-4f), q[i]);
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) q[i] = fma(r[i], splat<L>(1.392622492e-3f), splat<L>(8.36321214e-3f));
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) q[i] = fma(q[i], r[i], splat<L>(4.166655437e-2f));
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) q[i] = fma(q[i], r[i], splat<L>(0.1666657679f));
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) q[i] = fma(q[i], r[i], splat<L>(0.5f));
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) to[i] = fma(q[i] * r[i], r[i], r[i]) + 1.0f;
}

/// The same of one.
template <int L, class Fma>
inline Floats<L> exp_of_rest(Floats<L> x, Floats<L> n, Fma fma) {
  Floats<L> power;
  exp_of_rests<L, 1>(&x, &n, &power, fma);
  return power;
}

/// x cut to [-104, 89]; a NaN stays. (gcc 12 knows no VMAXPS in a choice of a constant.)
template <int L>
inline Floats<L> cut_power(Floats<L> x) {
#if defined(__AVX512F__)
  if constexpr (L == 16)
    return _mm512_min_ps(_mm512_set1_ps(89.0f), _mm512_max_ps(_mm512_set1_ps(-104.0f), x));
#endif
#if defined(__AVX2__)
  if constexpr (L == 8)
    return _mm256_min_ps(_mm256_set1_ps(89.0f), _mm256_max_ps(_mm256_set1_ps(-104.0f), x));
#endif
  x = x < -104.0f ? splat<L>(-104.0f) : x;
  return x > 89.0f ? splat<L>(89.0f) : x;
}

/// e^x within 1 ulp; 0 below -104, infinity above 88.73, NaN kept. (The steps of four vectors side
/// by side are no faster with AVX-512, where they fill its two ports as they are, and gcc 12 keeps
/// packs of two in memory with AVX2.)
template <int L>
inline Floats<L> exp_of(Floats<L> x) {
  using F = Floats<L>;
  using U = typename Lanes<L>::U;
  using I = typename Lanes<L>::I;
  x = cut_power<L>(x);
  // Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
  const F shifted = x * 1.44269504f + 12582912.0f;
  const F whole = shifted - 12582912.0f;
  const F p = exp_of_rest<L>(x, whole, [](F a, F b, F c) { return a * b + c; });
#if defined(__AVX512F__)
  // One rounding, as below: of the two products there the first is exact.
  if constexpr (L == 16) return _mm512_scalef_ps(p, whole);
#endif
  // 2^n in two factors reaches subnormals and infinity.
  const I n = __builtin_bit_cast(I, shifted) - 0x4b400000;
  const I half = n >> 1;
  const F first = __builtin_bit_cast(F, __builtin_bit_cast(U, half + 127) << 23);
  const F second = __builtin_bit_cast(F, __builtin_bit_cast(U, n - half + 127) << 23);
  return p * first * second;
}

inline float exp_one(float x) { return exp_of<4>(splat<4>(x))[0]; }

template <int L>
inline Floats<L> tanh_of(Floats<L> x) {
  using F = Floats<L>;
  using U = typename Lanes<L>::U;
  const U bits = __builtin_bit_cast(U, x);
  const F size = __builtin_bit_cast(F, bits & 0x7fffffffu);
  const F t = x * x;
  F p = t * -6.045165097e-3f + 2.096132911e-2f;
  p = p * t + -5.384326318e-2f;
  p = p * t + 0.1333271885f;
  p = p * t + -0.3333332843f;
  const F small = x + x * t * p;
  const F large = 1.0f - 2.0f / (exp_of<L>(size + size) + 1.0f);
  const F signed_large = __builtin_bit_cast(F, __builtin_bit_cast(U, large) | (bits & 0x80000000u));
  return size < 0.63f ? small : signed_large;
}

/// x / (1 + e^-x).
template <int L>
inline Floats<L> silu_of(Floats<L> x) {
  return x / (exp_of<L>(-x) + 1.0f);
}

/// x / (1 + e^(-alpha x)): silu with a slope of its own.
template <int L>
inline Floats<L> swish_of(Floats<L> x, float alpha) {
  return x / (exp_of<L>(x * -alpha) + 1.0f);
}

/// The tanh form of gelu, as x times a logistic: nothing cancels.
template <int L>
inline Floats<L> gelu_tanh_of(Floats<L> x) {
  const Floats<L> inner = x + x * x * x * 0.044715f;
  return x / (exp_of<L>(inner * -1.59576912f) + 1.0f);
}

/// x times the normal distribution. The tail beyond |x| is e^(-x²/2) times a polynomial in t = 1 /
/// (1 + 0.3 |x|); on the negative side it is the answer itself, so that nothing cancels.
template <int L>
inline Floats<L> gelu_of(Floats<L> x) {
  using F = Floats<L>;
  using U = typename Lanes<L>::U;
  const F size = __builtin_bit_cast(F, __builtin_bit_cast(U, x) & 0x7fffffffu);
  const F t = 1.0f / (size * 0.3f + 1.0f);
  F q = t * -2.095602424e-2f + 0.114257453f;
  q = q * t + -0.2325244073f;
  q = q * t + 0.1975505846f;
  q = q * t + -8.421348152e-2f;
  q = q * t + 9.871138235e-2f;
  q = q * t + 7.751790108e-2f;
  q = q * t + 0.1104184111f;
  q = q * t + 0.1195504315f;
  q = q * t + 0.1196877477f;
  const F tail = exp_of<L>(size * size * -0.5f) * q * t;
  // Infinity times a tail of zero is no number; the tail is zero long before.
  const F part = tail == 0.0f ? F{} : size * tail;
  return x < 0.0f ? -part : x - part;
}

}  // namespace
}  // namespace stepless::kernels
