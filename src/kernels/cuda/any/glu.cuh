// y = act(gate) * (up + offset), both cut to a limit first where the model does that: for the row
// that does only this, and for products that end with it.
#pragma once
#include <cuda_runtime.h>

#include "kernels/args.hpp"

namespace stepless::kernels {
namespace {

inline __device__ float activate(const GluArgs& args, float x) {
  switch (args.activation) {
    case Activation::silu:
      return x / (1.0f + expf(-x));
    case Activation::gelu:
      return 0.5f * x * erfcf(x * -0.70710678f);  // erfc: nothing cancels for x < 0
    case Activation::gelu_tanh: {
      // The tanh form as x times a logistic, for the same reason.
      const float inner = x + x * x * x * 0.044715f;
      return x / (1.0f + expf(inner * -1.59576912f));
    }
    case Activation::relu:
      return x < 0.0f ? 0.0f : x;
    case Activation::swish:
      return x / (1.0f + expf(x * -args.alpha));
    case Activation::sigmoid:
      return 1.0f / (1.0f + expf(-x));
  }
  return x;
}

/// The lower of x and top; a NaN stays.
inline __device__ float cut(float x, float top) { return x > top ? top : x; }

inline __device__ float gated(const GluArgs& args, float gate, float up) {
  if (args.limit != 0.0f) {
    gate = cut(gate, args.limit);
    up = -cut(-cut(up, args.limit), args.limit);
  }
  if (args.up_offset != 0.0f) up += args.up_offset;
  return activate(args, gate) * up;
}

}  // namespace
}  // namespace stepless::kernels
