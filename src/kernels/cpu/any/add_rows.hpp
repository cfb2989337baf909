// Residual sums, biases, scaled rows and the final softcap: y = a * a_scale + b * b_scale. Static
// only: nothing here is exported.
#pragma once
#include "kernels/cpu/any/convert.hpp"
#include "kernels/cpu/any/vector_math.hpp"

namespace stepless::kernels {

static void soften(float softcap, int64_t n, float* x) {
  constexpr int L = kNativeLanes;
  for (int64_t i = 0; i < n; i += L)
    store<L>(x + i, tanh_of<L>(load<L>(x + i) / softcap) * softcap);
}

static void add_rows(const void* opaque, Slice rows) {
  const AddArgs& args = *static_cast<const AddArgs*>(opaque);
  alignas(64) float a[kBlock] = {};
  alignas(64) float b[kBlock] = {};
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t at = 0; at < args.width; at += kBlock) {
      const int64_t count = least(kBlock, args.width - at);
      widen(element(args.a, args.type, row * args.a_stride + at), args.type, count, a);
      if (args.b != nullptr) {
        const int64_t b_row = args.b_row ? 0 : args.b_ids != nullptr ? args.b_ids[row] : row;
        widen(element(args.b, args.b_type, b_row * args.b_stride + at), args.b_type, count, b);
        for (int64_t i = 0; i < count; ++i) a[i] = a[i] * args.a_scale + b[i] * args.b_scale;
      } else {
        for (int64_t i = 0; i < count; ++i) a[i] *= args.a_scale;
      }
      if (args.softcap != 0.0f) soften(args.softcap, count, a);
      narrow(a, args.y_type, count, element(args.y, args.y_type, row * args.y_stride + at));
    }
}

}  // namespace stepless::kernels
