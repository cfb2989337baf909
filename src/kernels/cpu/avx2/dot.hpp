// Inner products, sums and products in float64 (every product is exact), which memory leaves time
// for. Lane l of four vectors takes elements l, l + 4, l + 8 and l + 12 of each 16 in turn,
// whatever the strides.
#pragma once
#include "kernels/cpu/avx2/numbers.hpp"

namespace stepless::kernels {

static constexpr int64_t kDotRun =
    512;  // elements of a strided vector, or of a tail, that are copied together

template <DType kType>
static inline void add_eight(const uint8_t* a, const uint8_t* b, __m256d* sums) {
  __m256 x, y;
  if constexpr (kType == DType::f32) {
    x = _mm256_loadu_ps(reinterpret_cast<const float*>(a));
    y = _mm256_loadu_ps(reinterpret_cast<const float*>(b));
  } else {
    x = half_to_f32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a)), kType);
    y = half_to_f32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b)), kType);
  }
  sums[0] = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
                            _mm256_cvtps_pd(_mm256_castps256_ps128(y)), sums[0]);
  sums[1] = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)),
                            _mm256_cvtps_pd(_mm256_extractf128_ps(y, 1)), sums[1]);
}

/// Copies `count` elements together and fills up to a multiple of 16 with zeros.
template <DType kType>
static void copy_together(const void* base, int64_t stride, int64_t first, int64_t count,
                          uint8_t* to) {
  constexpr int64_t kSize = kType == DType::f32 ? 4 : 2;
  const uint8_t* from = static_cast<const uint8_t*>(base) + first * stride * kSize;
  for (int64_t i = 0; i < count; ++i) memcpy(to + i * kSize, from + i * stride * kSize, kSize);
  memset(to + count * kSize, 0, static_cast<size_t>((16 - count % 16) % 16 * kSize));
}

/// Adds the products of elements k .. end - 1. Strided elements and the last few go through a copy.
template <DType kType>
static void add_products(const DotArgs& args, int64_t k, int64_t end, __m256d* sums) {
  constexpr int64_t kSize = kType == DType::f32 ? 4 : 2;
  if (args.a_stride == 1 && args.b_stride == 1) {
    const uint8_t* a = static_cast<const uint8_t*>(args.a);
    const uint8_t* b = static_cast<const uint8_t*>(args.b);
    for (; k + 16 <= end; k += 16) {
      add_eight<kType>(a + k * kSize, b + k * kSize, sums);
      add_eight<kType>(a + (k + 8) * kSize, b + (k + 8) * kSize, sums + 2);
    }
  }
  alignas(32) uint8_t a[kSize * kDotRun], b[kSize * kDotRun];
  for (; k < end; k += kDotRun) {
    const int64_t count = end - k < kDotRun ? end - k : kDotRun;
    copy_together<kType>(args.a, args.a_stride, k, count, a);
    copy_together<kType>(args.b, args.b_stride, k, count, b);
    for (int64_t i = 0; i < count; i += 16) {
      add_eight<kType>(a + i * kSize, b + i * kSize, sums);
      add_eight<kType>(a + (i + 8) * kSize, b + (i + 8) * kSize, sums + 2);
    }
  }
}

template <DType kType>
static void run_dot(const void* opaque, Slice blocks) {
  const DotArgs& args = *static_cast<const DotArgs*>(opaque);
  for (int64_t block = blocks.begin; block < blocks.end; ++block) {
    const int64_t begin = block * kDotBlock;
    __m256d sums[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(),
                       _mm256_setzero_pd()};
    add_products<kType>(args, begin, args.k - begin < kDotBlock ? args.k : begin + kDotBlock, sums);
    alignas(32) double lanes[4];
    _mm256_store_pd(
        lanes, _mm256_add_pd(_mm256_add_pd(sums[0], sums[1]), _mm256_add_pd(sums[2], sums[3])));
    args.workspace[2 * block] = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    args.workspace[2 * block + 1] = 0;
  }
}

/// Rounds once: to float32 towards zero with the last bit set where something was cut off, then to
/// nearest.
template <DType kType>
static float rounding_once(double value) {
  const float near = static_cast<float>(value);
  const double back = static_cast<double>(near);
  if (kType == DType::f32 || back == value || near != near) return near;
  int32_t bits;
  memcpy(&bits, &near, sizeof bits);
  bits = (bits - (__builtin_fabs(back) > __builtin_fabs(value) ? 1 : 0)) | 1;
  float cut;
  memcpy(&cut, &bits, sizeof cut);
  return cut;
}

template <DType kType>
static void finish_dot(const void* opaque) {
  const DotArgs& args = *static_cast<const DotArgs*>(opaque);
  double sum = 0;
  for (int64_t block = 0; block * kDotBlock < args.k; ++block) sum += args.workspace[2 * block];
  store_f32(args.y, kType, 0, 1, _mm_set1_ps(rounding_once<kType>(sum)));
}

}  // namespace stepless::kernels
