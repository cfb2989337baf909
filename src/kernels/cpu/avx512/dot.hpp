// Inner products, sums and products in float64 (every product is exact), which memory leaves time
// for. Lane l of two vectors takes elements l and l + 8 of each 16 in turn, whatever the strides.
#pragma once
#include <string.h>

#include "kernels/cpu/avx512/numbers.hpp"

namespace stepless::kernels {

static constexpr int64_t kDotRun = 512;  // strided elements made contiguous at a time

template <DType kType>
static inline void add_products(const uint8_t* a, const uint8_t* b, int64_t count, __m512d* sums) {
  constexpr int64_t kSize = kType == DType::f32 ? 4 : 2;
  const auto add = [sums](__m512 x, __m512 y) {
    sums[0] = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(x)),
                              _mm512_cvtps_pd(_mm512_castps512_ps256(y)), sums[0]);
    sums[1] = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)),
                              _mm512_cvtps_pd(_mm512_extractf32x8_ps(y, 1)), sums[1]);
  };
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    add(load_whole<kType>(a + i * kSize), load_whole<kType>(b + i * kSize));
  const __mmask16 rest = first16(count - i);
  if (rest != 0) add(load_f32(a, kType, i, rest), load_f32(b, kType, i, rest));
}

/// The vector's elements first .. first + count - 1, where they lie or, strided, copied together.
template <DType kType>
static inline const uint8_t* contiguous(const void* base, int64_t stride, int64_t first,
                                        int64_t count, uint8_t* copy) {
  constexpr int64_t kSize = kType == DType::f32 ? 4 : 2;
  const uint8_t* from = static_cast<const uint8_t*>(base) + first * stride * kSize;
  if (stride == 1) return from;
  for (int64_t i = 0; i < count; ++i) memcpy(copy + i * kSize, from + i * stride * kSize, kSize);
  return copy;
}

template <DType kType>
static void run_dot(const void* opaque, Slice blocks) {
  const DotArgs& args = *static_cast<const DotArgs*>(opaque);
  alignas(64) uint8_t copies[2][4 * kDotRun];
  const bool plain = args.a_stride == 1 && args.b_stride == 1;
  for (int64_t block = blocks.begin; block < blocks.end; ++block) {
    const int64_t begin = block * kDotBlock;
    const int64_t end = args.k - begin < kDotBlock ? args.k : begin + kDotBlock;
    const int64_t run = plain ? kDotBlock : kDotRun;
    __m512d sums[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()};
    for (int64_t k = begin; k < end; k += run) {
      const int64_t count = end - k < run ? end - k : run;
      add_products<kType>(contiguous<kType>(args.a, args.a_stride, k, count, copies[0]),
                          contiguous<kType>(args.b, args.b_stride, k, count, copies[1]), count,
                          sums);
    }
    args.workspace[2 * block] = _mm512_reduce_add_pd(_mm512_add_pd(sums[0], sums[1]));
    args.workspace[2 * block + 1] = 0;
  }
}

/// The float that rounds to every shorter type as `value` does: cut, and odd where something was
/// cut off.
static inline float cut_to_odd(double value) {
  float cut = static_cast<float>(value);
  if (static_cast<double>(cut) == value || cut != cut) return cut;
  int32_t bits;
  memcpy(&bits, &cut, sizeof bits);
  if (__builtin_fabs(static_cast<double>(cut)) > __builtin_fabs(value)) --bits;
  bits |= 1;
  memcpy(&cut, &bits, sizeof bits);
  return cut;
}

template <DType kType>
static void finish_dot(const void* opaque) {
  const DotArgs& args = *static_cast<const DotArgs*>(opaque);
  double sum = 0;
  for (int64_t block = 0; block * kDotBlock < args.k; ++block) sum += args.workspace[2 * block];
  const float result = kType == DType::f32 ? static_cast<float>(sum) : cut_to_odd(sum);
  store_f32(args.y, kType, 0, 1, _mm512_set1_ps(result));
}

}  // namespace stepless::kernels
