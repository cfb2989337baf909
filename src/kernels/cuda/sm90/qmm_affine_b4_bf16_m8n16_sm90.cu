// y = x · wᵀ for m = 1..8 on Hopper, in the order and with the bits of the flat kernels.
#include "kernels/cuda/sm90/pair_launch.cuh"

namespace stepless::kernels {
namespace {

using sm90::launch_lone, sm90::launch_pair;

template <int kGroup>
struct EvenBits : sm80::FourBits<kGroup> {};  // an instance of this file's own

// Which blocks. A kernel of a step finds the multiprocessors that the one before leaves, so steps
// tell, not a kernel that follows itself: with one block to each, products of 3 billion weights
// (k 3072 and 8192) write 726 tokens/s at one row and 5270 at eight on an H200, with half ones that
// share k 705 and 5290, and 525 and 4180 where two of those may lie side by side. Of a long k two
// blocks of eight warps to each, up to eight sharing k: 5120 x 13824 takes 17.6 us, 21 by blocks
// that go through k in rounds and load x anew; the products of a layer of 8 billion weights take 52
// us at one row and 53.5 at eight, 54 and 58.5 where kinds of blocks take turns. A k of 13 to 20
// units is that of pairs of blocks (flat_pair.cuh) where every tile's totals have room. One of 21
// to 32 is shared by two blocks of 16 warps, which go through it once: a layer of 3 billion weights
// takes 31.7 us at one row and 39.6 at eight, by one block in two rounds 32.7 and 40.4.
//
// Blocks of whole tiles (flat_few) meet once and hand nothing on: where they have two to four each
// and few are idle, 4096 x 14336 takes 15.3 us instead of 16.2. With one each 2048 x 2048 takes 4.3
// instead of 3.6, with seven gate and up of 14336 x 4096 24.6 instead of 20.0. A shorter k stays
// with what steps of 3 billion weights were measured by.
bool are_even(const sm80::FlatCall& call, const CudaContext& context) {
  constexpr int64_t kShort = 4096;
  constexpr int64_t kStays = 24;  // units of k whose x a block's warps read once
  if (call.first().k < kShort) return false;
  const sm80::FlatWeights weights = sm80::weights_of(call, 1);
  const int items = weights.end[call.count - 1] / (weights.gated ? 2 : 1);
  const int each = sm80::divided_up(items, context.multiprocessors);
  const int tenths = call.first().k <= kStays * sm80::kUnitK ? 8 : 9;
  return each >= 2 && each <= 4 && items * 10 >= each * context.multiprocessors * tenths;
}

template <int kGroup>
int32_t launch_group(const sm80::FlatCall& call, const CudaContext& context,
                     const sm90::LoneNorm& norm) {
  const bool even = are_even(call, context);
  const int64_t units = call.first().k / sm80::kUnitK;
  if (!even && units <= 12)
    return launch_lone<kGroup, 4, false, 544, 1>(call, context, {16, 1, 1, 1}, norm);
  if (norm.a != nullptr) return cudaErrorNotSupported;
  if (units > 12 && units <= 20) {
    const int32_t error = launch_pair<kGroup, 352>(call, context);
    if (error != cudaErrorNotSupported) return error;
  }
  if (!even && units > 20 && units <= 32)
    return launch_lone<kGroup, 4, true, 544, 1>(call, context, {16, 1, 1, 2});
  if (even)
    return sm80::launch_few<1, 1, EvenBits<kGroup>, 3, 384, 1>(call, context, {12, 48 << 10, 1});
  // Eleven warps; as many registers as 17 may have do without spills.
  if (units > 16 && units <= 20)
    return launch_lone<kGroup, 1, true, 544, 1>(call, context, {10, 1, 2, 2});
  return launch_lone<kGroup, 2, true, 288, 2>(call, context, {8, 2, 2, 8});
}

int32_t launch_call(const sm80::FlatCall& call, const CudaContext& context,
                    const sm90::LoneNorm& norm) {
  return call.first().group_size == 64 ? launch_group<64>(call, context, norm)
                                       : launch_group<128>(call, context, norm);
}

int32_t launch_together(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                        const CudaContext& context) {
  return launch_call({parts, count, glu}, context, {});
}

int32_t launch_normed(const AddArgs& add, const NormArgs& norm, const MatmulArgs* parts,
                      int64_t count, const GluArgs* glu, const CudaContext& context) {
  const sm80::FlatCall call{parts, count, glu};
  sm90::LoneNorm made{};
  if (!sm90::norm_of(add, norm, call, made)) return cudaErrorNotSupported;
  return launch_call(call, context, made);
}

int32_t launch(const void* args, const CudaContext& context) {
  return launch_together(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_b4_bf16_m8n16_sm90) = {
    .launch = launch,
    .workspace_bytes = nullptr,
    .joined = {.products = launch_together, .normed_products = launch_normed}};

}  // namespace stepless::kernels
