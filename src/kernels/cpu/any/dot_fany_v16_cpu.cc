// Inner product of two vectors at any strides. Products and sums are float64: what memory delivers
// on one core leaves time for it, and a float32 chain of millions of terms does not keep its
// digits.
#include "kernels/cpu/any/decode.hpp"

namespace stepless::kernels {

static constexpr int64_t kRun = 256;  // elements made contiguous at a time
static constexpr int64_t kLanes =
    16;  // float64 sums; lane l takes elements l, l + 16, ... of a block

/// `count` elements of a real type from element `first` on, as float32.
static inline void gather(const void* base, int64_t stride, DType type, int64_t first,
                          int64_t count, float* to) {
  const uint8_t* const from = element(base, type, first * stride);
  if (stride == 1) {
    widen(from, type, count, to);
    return;
  }
  for (int64_t i = 0; i < count; ++i)
    to[i] = load_element(from + i * stride * bytes_of(type), type);
}

static inline void gather_complex(const void* base, int64_t stride, int64_t first, int64_t count,
                                  float* real, float* imaginary) {
  const uint8_t* const from = static_cast<const uint8_t*>(base) + first * stride * 8;
  for (int64_t i = 0; i < count; ++i) {
    real[i] = load_f32(from + i * stride * 8);
    imaginary[i] = load_f32(from + i * stride * 8 + 4);
  }
}

/// lanes[i % 16] += sign * a[i] * b[i]; every product is exact.
static inline void add_products(const float* a, const float* b, int64_t count, double sign,
                                double* lanes) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l)
      lanes[l] += sign * static_cast<double>(a[i + l]) * static_cast<double>(b[i + l]);
  for (; i < count; ++i)
    lanes[i % kLanes] += sign * static_cast<double>(a[i]) * static_cast<double>(b[i]);
}

static inline double sum_lanes(const double* lanes) {
  double sum = 0;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  return sum;
}

static void run_block(const DotArgs& args, int64_t block) {
  double real[kLanes] = {}, imaginary[kLanes] = {};
  const int64_t begin = block * kDotBlock;
  const int64_t end = least(args.k, begin + kDotBlock);
  float a[2][kRun], b[2][kRun];
  for (int64_t k = begin; k < end; k += kRun) {
    const int64_t count = least(kRun, end - k);
    if (args.type == DType::complex64) {
      gather_complex(args.a, args.a_stride, k, count, a[0], a[1]);
      gather_complex(args.b, args.b_stride, k, count, b[0], b[1]);
      add_products(a[0], b[0], count, 1, real);
      add_products(a[1], b[1], count, -1, real);
      add_products(a[0], b[1], count, 1, imaginary);
      add_products(a[1], b[0], count, 1, imaginary);
    } else {
      gather(args.a, args.a_stride, args.type, k, count, a[0]);
      gather(args.b, args.b_stride, args.type, k, count, b[0]);
      add_products(a[0], b[0], count, 1, real);
    }
  }
  args.workspace[2 * block] = sum_lanes(real);
  args.workspace[2 * block + 1] = sum_lanes(imaginary);
}

static void run(const void* opaque, Slice blocks) {
  const DotArgs& args = *static_cast<const DotArgs*>(opaque);
  for (int64_t block = blocks.begin; block < blocks.end; ++block) run_block(args, block);
}

static void finish(const void* opaque) {
  const DotArgs& args = *static_cast<const DotArgs*>(opaque);
  double sums[2] = {0, 0};
  for (int64_t block = 0; block * kDotBlock < args.k; ++block)
    for (int part = 0; part < 2; ++part) sums[part] += args.workspace[2 * block + part];
  if (args.type == DType::complex64) {
    const float parts[2] = {static_cast<float>(sums[0]), static_cast<float>(sums[1])};
    memcpy(args.y, parts, sizeof parts);
    return;
  }
  const float sum = to_float(sums[0], rounding_for(args.type));
  narrow(&sum, args.type, 1, static_cast<uint8_t*>(args.y));
}

STEPLESS_KERNEL(dot_fany_v16_cpu) = {nullptr, run, finish};

}  // namespace stepless::kernels
