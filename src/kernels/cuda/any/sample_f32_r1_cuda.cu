// Sampling: a token and its logprob per row, a block to a row. Greedy rows cost two passes over the
// logits; the rest is sample_block.cuh.
#include "kernels/cuda/any/sample_block.cuh"

namespace stepless::kernels {
namespace {

/// The `wanted` best ids, best first, equal ones by id: each is the best of those behind the last.
__device__ void list_best(const SampleArgs& args, const Logits& row, Shared& shared) {
  const int64_t i = blockIdx.x, asked = args.params[i].logprobs;
  const int64_t wanted = row.best < 0 ? 0 : asked < args.top_stride ? asked : args.top_stride;
  unsigned last = ~0u, last_id = 0;  // nothing is behind ~0u but every logit
  for (int64_t j = 0; j < args.top_stride; ++j) {
    unsigned best = 0, place = ~0u;
    const auto is_behind = [&](unsigned key, unsigned id) {
      return row.z[id] > -INFINITY && (key < last || (key == last && id > last_id));
    };
    if (j < wanted) {
      for (int64_t id = threadIdx.x; id < row.vocab; id += kThreads)
        if (const unsigned key = key_of(row.z[id]); is_behind(key, static_cast<unsigned>(id)))
          best = max(best, key);
      best = block_most(best, shared);
      for (int64_t id = threadIdx.x; id < row.vocab; id += kThreads)
        if (key_of(row.z[id]) == best && is_behind(best, static_cast<unsigned>(id)))
          place = min(place, static_cast<unsigned>(id));
      place = block_least(place, shared);
      last = best, last_id = place;
    }
    if (threadIdx.x != 0) continue;
    const bool found = place != ~0u;
    args.top_ids[i * args.top_stride + j] = found ? static_cast<int32_t>(place) : -1;
    args.top_logprobs[i * args.top_stride + j] =
        found ? logprob_of(row, static_cast<int32_t>(place)) : NAN;
  }
}

__global__ void __launch_bounds__(kThreads) sample(SampleArgs args) {
  __shared__ Shared shared;
  begin_early();
  const int64_t i = blockIdx.x;
  const SampleRow& params = args.params[i];
  // Of the row's room: bits of the ids in the race, then the penalised logits.
  uint8_t* const room = args.workspace + i * sample_workspace_bytes(args.vocab);
  auto* const bits = reinterpret_cast<uint32_t*>(room);
  Logits row{args.logits + i * args.stride, args.vocab, -1, 0, 0, 0, bits};
  if (has_penalties(params)) {
    auto* const own = reinterpret_cast<float*>(room + args.vocab * 4);
    penalise(params, row.z, args.vocab, own, bits);
    row.z = own;
  }
  survey(row, shared);
  if (args.top_ids != nullptr) list_best(args, row, shared);
  int32_t token = row.best;
  if (token >= 0 && params.temperature > 0.0f) {
    filter(params, row, shared, philox_uniform(params.seed, params.position, kXtcDraw));
    token = draw(row, shared, params.temperature,
                 philox_uniform(params.seed, params.position, kTokenDraw));
  }
  if (threadIdx.x != 0) return;
  args.token[i] = token;
  args.logprob[i] = token >= 0 ? logprob_of(row, token) : NAN;
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const SampleArgs& args = *static_cast<const SampleArgs*>(opaque);
  return launch_grid(sample, {grid_for(args.rows), kThreads}, context, args);
}

}  // namespace

STEPLESS_CUDA_KERNEL(sample_f32_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
