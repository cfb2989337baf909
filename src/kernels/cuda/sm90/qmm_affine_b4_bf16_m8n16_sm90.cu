// y = x · wᵀ for m = 1..8 on Hopper, in the order and with the bits of the flat kernels.
#include "kernels/cuda/sm90/lone_launch.cuh"

namespace stepless::kernels {
namespace {

using sm90::launch_lone;

// Which blocks: the best of some twenty on an H200, where one spilled register costs 1 to 2 us.
// Half a multiprocessor, two blocks sharing k, lets the next kernel's copies run beside this one's
// end: 13824 x 5120 takes 14.9 us, 15.5 by whole ones. Two blocks of eight warps for each
// multiprocessor, up to eight sharing k: 5120 x 13824 takes 17.6 us, 21 by blocks that go through k
// in rounds and load x anew; the products of a layer of 8 billion weights take 52 us at one row and
// 53.5 at eight, 54 and 58.5 where kinds of blocks take turns. Whole multiprocessors where k is
// short and outputs are many: 128256 x 3072 takes 55 us, 64 by half ones.
template <int kGroup>
int32_t launch_group(const sm80::FlatCall& call, const CudaContext& context) {
  constexpr int64_t kMuch = 160;  // units for a multiprocessor
  const int64_t units = call.first().k / sm80::kUnitK;
  int64_t tiles = 0;
  for (int64_t i = 0; i < call.count; ++i) tiles += call.parts[i].n / sm80::kTileRows;
  const bool much = tiles * units > kMuch * context.multiprocessors;
  if (much && units <= 12)
    return launch_lone<kGroup, 1, false, 672, 1>(call, context, {20, 1, 1, 1});
  if (units > 32 || (units > 12 && units <= 16))
    return launch_lone<kGroup, 2, true, 288, 2>(call, context, {8, 2, 2, 8});
  if (units <= 10) return launch_lone<kGroup, 1, false, 352, 2>(call, context, {10, 1, 2, 1});
  return much && units > 20 ? launch_lone<kGroup, 1, true, 352, 2>(call, context, {10, 2, 2, 8})
                            : launch_lone<kGroup, 1, true, 352, 2>(call, context, {10, 1, 2, 2});
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
