// Sampling: a token and its logprob per row. From sm_90 on a row is a cluster of blocks, each with
// its part of the logits in shared memory; before, one block with a copy in the workspace.
#include "kernels/cuda/any/sample_steps.cuh"

namespace stepless::kernels {
namespace {

constexpr int64_t kMostShared = 200 << 10;  // bytes of a block beside what is static

struct Cut {
  int part_size;
  bool in_shared;
  int64_t shared_bytes() const {
    return in_shared ? part_size * int64_t{4} + (part_size + 31) / 32 * 4 : 0;
  }
};

Cut cut_of(int64_t vocab, bool in_team) {
  const auto size = static_cast<int>((vocab + 4 * kParts - 1) / (4 * kParts) * 4);
  Cut cut{size, in_team};
  cut.in_shared = in_team && cut.shared_bytes() <= kMostShared;
  return cut;
}

/// The `wanted` best ids, best first, equal ones by id: each is the best of those behind the last.
template <int kTeam>
__device__ void list_best(Team<kTeam>& team, const SampleArgs& args, const Row& row, int64_t i) {
  const int64_t asked = args.params[i].logprobs;
  const int64_t wanted = row.best < 0 ? 0 : asked < args.top_stride ? asked : args.top_stride;
  Word last = ~Word{0};  // a key and an id, the lower id above
  const Word none = static_cast<Word>(key_of(-INFINITY)) << 32 | ~0u;
  for (int64_t j = 0; j < args.top_stride; ++j) {
    Word best = 0;
    if (j < wanted)
      best = team_most(team, [&](int index) {
        const Part part = row.part(index);
        Word most = 0;
        each_logit(part, [&](int at, float z) {
          const Word own =
              static_cast<Word>(key_of(z)) << 32 | ~static_cast<unsigned>(part.first + at);
          if (own < last && own > none) most = max(most, own);
        });
        return most;
      });
    last = best;
    if (team.rank != 0 || threadIdx.x != 0) continue;
    args.top_ids[i * args.top_stride + j] = best != 0 ? static_cast<int32_t>(~best) : -1;
    args.top_logprobs[i * args.top_stride + j] =
        best != 0 ? logprob_of(row, of_key(static_cast<unsigned>(best >> 32))) : NAN;
  }
}

/// Brings the logits of this block's parts to where it may write.
template <int kTeam>
__device__ void copy_logits(const Team<kTeam>& team, const Row& row, const float* logits) {
  const bool by_fours = row.vocab % 4 == 0 && reinterpret_cast<uintptr_t>(logits) % 16 == 0;
  team.each_part([&](int index) {
    const Part part = row.part(index);
    const float* const from = logits + part.first;
    if (by_fours) {
#pragma unroll 8
      for (int at = static_cast<int>(threadIdx.x); at < part.count / 4; at += kThreads)
        reinterpret_cast<float4*>(part.z)[at] = reinterpret_cast<const float4*>(from)[at];
    } else {
      for (int at = static_cast<int>(threadIdx.x); at < part.count; at += kThreads)
        part.z[at] = from[at];
    }
  });
  __syncthreads();
}

template <int kTeam>
__global__ void __launch_bounds__(kThreads) sample(SampleArgs args, Cut cut) {
  extern __shared__ float4 own_logits[];
  __shared__ Shared shared;
  let_next_start();
  Team<kTeam> team(shared, static_cast<int>(blockIdx.x) % kTeam);
  const int64_t i = blockIdx.x / kTeam;
  const SampleRow& params = args.params[i];
  const SampleRow early = read_early(&params);
  const bool penalises = has_penalties(early), is_random = early.temperature > 0.0f;
  wait_for_inputs();
  uint8_t* const room = args.workspace + i * sample_workspace_bytes(args.vocab);
  Row row{};
  row.vocab = static_cast<int>(args.vocab);
  row.part_size = cut.part_size;
  if (cut.in_shared) {
    row.z = reinterpret_cast<float*>(own_logits);
    row.mark = reinterpret_cast<uint32_t*>(row.z + cut.part_size);
    row.base = team.rank;
  } else {
    row.z = reinterpret_cast<float*>(room);
    row.mark = reinterpret_cast<uint32_t*>(room + args.vocab * 4);
  }
  copy_logits(team, row, args.logits + i * args.stride);
  team.assemble();
  if (penalises) penalise(team, params, row);
  survey(team, row);
  if (args.top_ids != nullptr) list_best(team, args, row, i);
  int token = row.best;
  const bool draws = token >= 0 && is_random;
  float drawn = row.top;
  if (draws) {
    const float top =
        filter(team, params, row, philox_uniform(params.seed, params.position, kXtcDraw));
    token = draw(team, row, top, params.temperature,
                 philox_uniform(params.seed, params.position, kTokenDraw));
    if (token < 0) return;  // another block has it
    drawn = row.z[token - row.base * row.part_size];
  }
  if (threadIdx.x != 0 || (!draws && team.rank != 0)) return;
  args.token[i] = token;
  args.logprob[i] = token >= 0 ? logprob_of(row, drawn) : NAN;
}

template <int kTeam>
cudaError_t launch_team(const SampleArgs& args, const CudaContext& context) {
  const Cut cut = cut_of(args.vocab, kTeam > 1);
  const auto bytes = static_cast<std::size_t>(cut.shared_bytes());
  if (const cudaError_t error = cudaFuncSetAttribute(
          sample<kTeam>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
      error != cudaSuccess)
    return error;
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {kTeam, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(args.rows * kTeam));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = bytes;
  config.stream = stream_of(context);
  config.attrs = kTeam > 1 ? attributes : nullptr;
  config.numAttrs = kTeam > 1 ? 2 : 0;
  return cudaLaunchKernelEx(&config, sample<kTeam>, args, cut);
}

/// Clusters and an early start came with the same generation.
int32_t launch(const void* opaque, const CudaContext& context) {
  const SampleArgs& args = *static_cast<const SampleArgs*>(opaque);
  return context.early_start ? launch_team<kParts>(args, context) : launch_team<1>(args, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(sample_f32_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
