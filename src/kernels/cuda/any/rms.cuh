// What a norm multiplies by, wherever it is made: the same bits.
#pragma once
#include <cuda_runtime.h>

namespace stepless::kernels {
namespace {

/// 1 / rms, of 1 / the number of elements: a division in double takes 0.2 us.
inline __device__ float inverse_rms(double squares, double per_element, float epsilon) {
  return static_cast<float>(rsqrt(squares * per_element + static_cast<double>(epsilon)));
}

}  // namespace
}  // namespace stepless::kernels
