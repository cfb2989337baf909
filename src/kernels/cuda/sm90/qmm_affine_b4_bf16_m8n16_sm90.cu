// y = x · wᵀ for m = 1..8 on Hopper, in the order and with the bits of the flat kernels.
#include "kernels/cuda/sm90/lone_launch.cuh"

namespace stepless::kernels {
namespace {

using sm90::launch_lone;

// Which blocks. A kernel of a step finds the multiprocessors that the one before leaves, so steps
// tell, not a kernel that follows itself: with one block to each, products of 3 billion weights
// (k 3072 and 8192) write 726 tokens/s at one row and 5270 at eight on an H200, with half ones that
// share k 705 and 5290, and 525 and 4180 where two of those may lie side by side. Of a long k two
// blocks of eight warps to each, up to eight sharing k: 5120 x 13824 takes 17.6 us, 21 by blocks
// that go through k in rounds and load x anew; the products of a layer of 8 billion weights take 52
// us at one row and 53.5 at eight, 54 and 58.5 where kinds of blocks take turns. A k of up to 5120
// would take 20 warps, beside which no norm has room: 13824 x 5120 takes 18.4 us at eight rows
// then, and took 15.4 by half blocks, two sharing k.
template <int kGroup>
int32_t launch_group(const sm80::FlatCall& call, const CudaContext& context) {
  const int64_t units = call.first().k / sm80::kUnitK;
  if (units > 32 || (units > 12 && units <= 16))
    return launch_lone<kGroup, 2, true, 288, 2>(call, context, {8, 2, 2, 8});
  if (units > 16 && units <= 20)
    return launch_lone<kGroup, 1, true, 352, 2>(call, context, {10, 1, 2, 2});
  return launch_lone<kGroup, 1, false, 672, 1>(call, context, {20, 1, 1, 1});
}

int32_t launch_together(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                        const CudaContext& context) {
  const sm80::FlatCall call{parts, count, glu};
  return call.first().group_size == 64 ? launch_group<64>(call, context)
                                       : launch_group<128>(call, context);
}

int32_t launch(const void* args, const CudaContext& context) {
  return launch_together(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_b4_bf16_m8n16_sm90) = {
    .launch = launch, .workspace_bytes = nullptr, .joined = {.products = launch_together}};

}  // namespace stepless::kernels
