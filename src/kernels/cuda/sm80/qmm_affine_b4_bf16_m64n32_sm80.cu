// y = x · wᵀ for m from 17 on, 64 rows at a time: x in shared memory.
//
// Bound by neither memory nor any one pipe: on an H200 warps stall on the weights, on fixed waits
// and on the dispatch of products about alike. Tried and lost there (-5 to +12 %): the two chains
// of a part in two warps, which spares the sums set aside and every spill; 8 and 10 warps instead
// of 12; steps not unrolled.
#include "kernels/cuda/sm80/flat_launch.cuh"

namespace stepless::kernels {
namespace {

using sm80::kManyRows, sm80::kPartK, sm80::launch_many;

/// Row pairs that a block of flat_many walks over.
int pairs_of_block(const sm80::FlatCall& call, const CudaContext& context) {
  const int pairs = sm80::weights_of(call, sm80::kPairTiles).end[call.count - 1] / sm80::kPairTiles;
  const int parts = sm80::divided_up(static_cast<int>(call.first().k), kPartK);
  return sm80::divided_up(pairs * parts, context.multiprocessors);
}

template <int kGroup>
int32_t launch_rows(const sm80::FlatCall& call, const CudaContext& context) {
  if (call.first().m > kManyRows / 2) return launch_many<2, 4, kGroup, 3, 4>(call, context);
  // A warp to a row pair, if there are pairs for twelve warps; else two.
  return pairs_of_block(call, context) > 6 ? launch_many<1, 4, kGroup, 2, 12>(call, context)
                                           : launch_many<2, 2, kGroup, 3, 6>(call, context);
}

int32_t launch_together(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                        const CudaContext& context) {
  return sm80::launch_slices({parts, count, glu}, kManyRows, [&](const sm80::FlatCall& call) {
    return call.first().group_size == 64 ? launch_rows<64>(call, context)
                                         : launch_rows<128>(call, context);
  });
}

int32_t launch(const void* args, const CudaContext& context) {
  return launch_together(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
}

int64_t workspace_bytes(const void* args) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  const int64_t parts = (a.k + kPartK - 1) / kPartK, rows = (a.n + 31) / 32 * 32;
  return kTicketBytes + rows * parts * kManyRows * 4;
}

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_b4_bf16_m64n32_sm80) = {
    .launch = launch, .workspace_bytes = workspace_bytes, .joined = {.products = launch_together}};

}  // namespace stepless::kernels
