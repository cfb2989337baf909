// y = act(gate) * (up + offset), both cut to a limit first where the model does that: for the row
// that does only this, and for products that end with it.
#pragma once
#include <cuda_runtime.h>

#include "kernels/args.hpp"

namespace stepless::kernels {
namespace {

/// x / y for y >= 1, within an ulp: without the branch of a plain division, elements beside each
/// other overlap.
inline __device__ float divided(float x, float y) {
  float r;
  asm("rcp.approx.f32 %0,%1;" : "=f"(r) : "f"(y));
  const float q = x * r, left = __fmaf_rn(-q, y, x);
  return left == left ? __fmaf_rn(left, r, q) : q;  // NaN: x or y is not finite
}

template <Activation which>
inline __device__ float activate_as(float alpha, float x) {
  switch (which) {
    case Activation::silu:
      return divided(x, 1.0f + expf(-x));
    case Activation::gelu:
      return 0.5f * x * erfcf(x * -0.70710678f);  // erfc: nothing cancels for x < 0
    case Activation::gelu_tanh: {
      // The tanh form as x times a logistic, for the same reason.
      const float inner = x + x * x * x * 0.044715f;
      return divided(x, 1.0f + expf(inner * -1.59576912f));
    }
    case Activation::relu:
      return x < 0.0f ? 0.0f : x;
    case Activation::swish:
      return divided(x, 1.0f + expf(x * -alpha));
    case Activation::sigmoid:
      return divided(1.0f, 1.0f + expf(-x));
  }
  return x;
}

/// The lower of x and top; a NaN stays.
inline __device__ float cut(float x, float top) { return x > top ? top : x; }

template <Activation which, int kCount>
inline __device__ void gate_as(const GluArgs& args, const float (&gate)[kCount],
                               float (&up)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) up[i] = activate_as<which>(args.alpha, gate[i]) * up[i];
}

/// Of kCount elements beside each other: up becomes y.
template <int kCount>
inline __device__ void gate_all(const GluArgs& args, float (&gate)[kCount], float (&up)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (args.limit != 0.0f) {
      gate[i] = cut(gate[i], args.limit);
      up[i] = -cut(-cut(up[i], args.limit), args.limit);
    }
    if (args.up_offset != 0.0f) up[i] += args.up_offset;
  }
  switch (args.activation) {
    case Activation::silu:
      return gate_as<Activation::silu>(args, gate, up);
    case Activation::gelu:
      return gate_as<Activation::gelu>(args, gate, up);
    case Activation::gelu_tanh:
      return gate_as<Activation::gelu_tanh>(args, gate, up);
    case Activation::relu:
      return gate_as<Activation::relu>(args, gate, up);
    case Activation::swish:
      return gate_as<Activation::swish>(args, gate, up);
    case Activation::sigmoid:
      return gate_as<Activation::sigmoid>(args, gate, up);
  }
}

inline __device__ float gated(const GluArgs& args, float gate, float up) {
  float one[1] = {gate}, y[1] = {up};
  gate_all(args, one, y);
  return y[0];
}

}  // namespace
}  // namespace stepless::kernels
