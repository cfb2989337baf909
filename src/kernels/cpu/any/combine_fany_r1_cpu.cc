// The weighted sum of what a token's experts computed.
#include "kernels/cpu/any/convert.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice rows) {
  const CombineArgs& args = *static_cast<const CombineArgs*>(opaque);
  alignas(64) float sum[kBlock] = {};
  alignas(64) float one[kBlock] = {};
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t at = 0; at < args.width; at += kBlock) {
      const int64_t count = least(kBlock, args.width - at);
      for (int64_t i = 0; i < count; ++i) sum[i] = 0;
      for (int64_t j = 0; j < args.k; ++j) {
        const float weight = args.weights[row * args.k + j];
        widen(element(args.x, args.type, (row * args.k + j) * args.width + at), args.type, count,
              one);
        for (int64_t i = 0; i < count; ++i) sum[i] += weight * one[i];
      }
      narrow(sum, args.type, count, element(args.y, args.type, row * args.width + at));
    }
}

STEPLESS_KERNEL(combine_fany_r1_cpu) = {nullptr, run, nullptr};

}  // namespace stepless::kernels
