// Gated activation of the feed-forward layer: y = act(gate) * (up + offset), both cut to a limit
// first where the model does that. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/any/convert.hpp"
#include "kernels/cpu/any/vector_math.hpp"

namespace stepless::kernels {

static constexpr int kL = kNativeLanes;

/// gate = act(gate) * up for n elements, rounded up to whole vectors.
template <class Act>
static void gate_block(int64_t n, float* gate, const float* up, Act act) {
  for (int64_t i = 0; i < n; i += kL)
    store<kL>(gate + i, act(load<kL>(gate + i)) * load<kL>(up + i));
}

static void activate(const GluArgs& args, int64_t n, float* gate, const float* up) {
  using F = Floats<kL>;
  switch (args.activation) {
    case Activation::silu:
      return gate_block(n, gate, up, [](F x) { return silu_of<kL>(x); });
    case Activation::gelu:
      return gate_block(n, gate, up, [](F x) { return gelu_of<kL>(x); });
    case Activation::gelu_tanh:
      return gate_block(n, gate, up, [](F x) { return gelu_tanh_of<kL>(x); });
    case Activation::relu:
      return gate_block(n, gate, up, [](F x) { return x < 0.0f ? F{} : x; });
    case Activation::swish:
      return gate_block(n, gate, up, [&](F x) { return swish_of<kL>(x, args.alpha); });
    case Activation::sigmoid:
      return gate_block(n, gate, up, [](F x) { return 1.0f / (exp_of<kL>(-x) + 1.0f); });
  }
}

/// The lower of x and top; a NaN stays.
static Floats<kL> cut(Floats<kL> x, float top) { return x > top ? splat<kL>(top) : x; }

static void limit(const GluArgs& args, int64_t n, float* gate, float* up) {
  for (int64_t i = 0; i < n; i += kL) {
    store<kL>(gate + i, cut(load<kL>(gate + i), args.limit));
    store<kL>(up + i, -cut(-cut(load<kL>(up + i), args.limit), args.limit));
  }
}

/// n times one element.
static void fill(const uint8_t* from, DType type, int64_t n, float* to) {
  float one;
  widen(from, type, 1, &one);
  for (int64_t i = 0; i < n; ++i) to[i] = one;
}

static void glu_rows(const void* opaque, Slice rows) {
  const GluArgs& args = *static_cast<const GluArgs*>(opaque);
  alignas(64) float gate[kBlock] = {};
  alignas(64) float up[kBlock] = {};
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t at = 0; at < args.width; at += kBlock) {
      const int64_t count = least(kBlock, args.width - at);
      if (args.one_gate)
        fill(element(args.gate, args.type, row * args.gate_stride), args.type, count, gate);
      else
        widen(element(args.gate, args.type, row * args.gate_stride + at), args.type, count, gate);
      widen(element(args.up, args.type, row * args.up_stride + at), args.type, count, up);
      if (args.limit != 0.0f) limit(args, count, gate, up);
      if (args.up_offset != 0.0f)
        for (int64_t i = 0; i < count; ++i) up[i] += args.up_offset;
      activate(args, count, gate, up);
      narrow(gate, args.type, count, element(args.y, args.type, row * args.y_stride + at));
    }
}

}  // namespace stepless::kernels
