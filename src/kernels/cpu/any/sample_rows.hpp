// Sampling: a token and its logprob per row. Greedy rows cost two passes over the logits; the rest
// is sampler_steps. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/any/sampler_steps.hpp"

namespace stepless::kernels {

static void list_best(const SampleArgs& args, const Logits& row, int64_t i, int32_t* scratch) {
  if (args.top_ids == nullptr) return;
  int32_t* ids = args.top_ids + i * args.top_stride;
  float* logprobs = args.top_logprobs + i * args.top_stride;
  const int64_t asked = args.params[i].logprobs;
  const int64_t wanted = asked < args.top_stride ? asked : args.top_stride;
  const int64_t count = row.best >= 0 && wanted > 0 ? best_ids(row, wanted, scratch) : 0;
  for (int64_t j = 0; j < args.top_stride; ++j) {
    ids[j] = j < count ? scratch[j] : -1;
    logprobs[j] = j < count ? logprob_of(row, scratch[j]) : __builtin_nanf("");
  }
}

static void sample_one(const SampleArgs& args, int64_t i) {
  const SampleRow& params = args.params[i];
  uint8_t* workspace = args.workspace + i * sample_workspace_bytes(args.vocab);
  int32_t* ids = reinterpret_cast<int32_t*>(workspace);
  const float* z = args.logits + i * args.stride;
  if (has_penalties(params)) {
    float* own = reinterpret_cast<float*>(workspace + args.vocab * 4);
    penalise(params, z, args.vocab, own, reinterpret_cast<uint32_t*>(workspace));
    z = own;
  }
  const Logits row = survey(z, args.vocab);
  list_best(args, row, i, ids);
  int32_t token = row.best;
  if (token >= 0 && params.temperature > 0.0f) {
    const double coin = philox_uniform(params.seed, params.position, kXtcDraw);
    const Kept kept = filter(params, row, coin, ids);
    token = draw(row, kept, params.temperature,
                 philox_uniform(params.seed, params.position, kTokenDraw));
  }
  args.token[i] = token;
  args.logprob[i] = token >= 0 ? logprob_of(row, token) : __builtin_nanf("");
}

static void sample_rows(const void* opaque, Slice rows) {
  const SampleArgs& args = *static_cast<const SampleArgs*>(opaque);
  for (int64_t i = rows.begin; i < rows.end; ++i) sample_one(args, i);
}

}  // namespace stepless::kernels
