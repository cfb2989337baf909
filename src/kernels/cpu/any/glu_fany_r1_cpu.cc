// Gated activation of the feed-forward layer: y = act(gate) * (up + offset), both cut to a limit
// first where the model does that.
#include "kernels/cpu/any/convert.hpp"
#include "kernels/cpu/any/vector_math.hpp"

namespace stepless::kernels {

static Floats<4> activate(const GluArgs& args, Floats<4> x) {
  switch (args.activation) {
    case Activation::silu:
      return silu_of<4>(x);
    case Activation::gelu:
      return gelu_of<4>(x);
    case Activation::gelu_tanh:
      return gelu_tanh_of<4>(x);
    case Activation::relu:
      return x < 0.0f ? Floats<4>{} : x;
    case Activation::swish:
      return swish_of<4>(x, args.alpha);
    case Activation::sigmoid:
      return 1.0f / (exp_of<4>(-x) + 1.0f);
  }
  return x;
}

/// The lower of x and top; a NaN stays.
static Floats<4> cut(Floats<4> x, float top) { return x > top ? splat<4>(top) : x; }

static void limit(const GluArgs& args, int64_t n, float* gate, float* up) {
  for (int64_t i = 0; i < n; i += 4) {
    store<4>(gate + i, cut(load<4>(gate + i), args.limit));
    store<4>(up + i, -cut(-cut(load<4>(up + i), args.limit), args.limit));
  }
}

/// n times one element.
static void fill(const uint8_t* from, DType type, int64_t n, float* to) {
  float one;
  widen(from, type, 1, &one);
  for (int64_t i = 0; i < n; ++i) to[i] = one;
}

static void run(const void* opaque, Slice rows) {
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
      for (int64_t i = 0; i < count; i += 4)
        store<4>(gate + i, activate(args, load<4>(gate + i)) * load<4>(up + i));
      narrow(gate, args.type, count, element(args.y, args.type, row * args.y_stride + at));
    }
}

STEPLESS_KERNEL(glu_fany_r1_cpu) = {nullptr, run, nullptr};

}  // namespace stepless::kernels
