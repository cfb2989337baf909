// Which experts a token goes to, and how much of each: softmax, the k largest, optionally
// normalized.
#include <math.h>

#include "kernels/args.hpp"

namespace stepless::kernels {

/// The largest logit not yet taken; ties go to the lower id. A NaN is never larger: it is taken
/// last.
static int32_t next_best(const float* logits, int64_t experts, const int32_t* taken,
                         int64_t count) {
  int32_t best = -1;
  for (int64_t e = 0; e < experts; ++e) {
    bool free = true;
    for (int64_t j = 0; j < count; ++j) free = free && taken[j] != e;
    if (!free) continue;
    const float logit = logits[e], most = best < 0 ? 0 : logits[best];
    if (best < 0 || logit > most || (most != most && logit == logit))
      best = static_cast<int32_t>(e);
  }
  return best;
}

static void run(const void* opaque, Slice rows) {
  const RouteArgs& args = *static_cast<const RouteArgs*>(opaque);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* logits = args.logits + row * args.experts;
    int32_t* ids = args.ids + row * args.k;
    float* weights = args.weights + row * args.k;
    for (int64_t j = 0; j < args.k; ++j) ids[j] = next_best(logits, args.experts, ids, j);
    const double top = static_cast<double>(logits[ids[0]]);
    double all = 0, chosen = 0;
    for (int64_t e = 0; e < args.experts; ++e) all += exp(static_cast<double>(logits[e]) - top);
    for (int64_t j = 0; j < args.k; ++j) chosen += exp(static_cast<double>(logits[ids[j]]) - top);
    for (int64_t j = 0; j < args.k; ++j)
      weights[j] = static_cast<float>(exp(static_cast<double>(logits[ids[j]]) - top) /
                                      (args.normalize ? chosen : all));
  }
}

STEPLESS_KERNEL(route_f32_r1_cpu) = {nullptr, run, nullptr};

}  // namespace stepless::kernels
