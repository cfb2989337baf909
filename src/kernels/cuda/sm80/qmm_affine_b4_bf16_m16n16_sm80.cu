// y = x · wᵀ for m = 1..16: x in registers, one reading of the weights.
#include "kernels/cuda/sm80/flat_gather.cuh"

namespace stepless::kernels {
namespace {

using sm80::launch_few, sm80::FourBits;

// Warps and stages: the best of three sweeps on an H100. Twelve warps of at most 168 registers won
// over 8, 10, 16 and 20; two blocks of 8 or 10 warps per multiprocessor lost. Up to 8 rows only
// half a chain's x stays in registers: 136 of them leave room for the small kernels of a step
// beside a block, which shortens a layer's products and norms on an H200 from 42.5 to 40.7 us (1
// row) and from 52.3 to 47.0 (8).
int32_t launch_together(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                        const CudaContext& context) {
  const sm80::FlatCall call{parts, count, glu};
  const MatmulArgs& a = call.first();
  if (a.group_size == 64)
    return a.m <= 8 ? launch_few<1, 1, FourBits<64>, 3, 384, 1>(call, context, {12, 48 << 10, 1})
                    : launch_few<2, 1, FourBits<64>, 3, 384, 1>(call, context, {12, 80 << 10, 1});
  return a.m <= 8 ? launch_few<1, 1, FourBits<128>, 3, 384, 1>(call, context, {12, 48 << 10, 1})
                  : launch_few<2, 1, FourBits<128>, 3, 384, 1>(call, context, {12, 80 << 10, 1});
}

int32_t launch(const void* args, const CudaContext& context) {
  return launch_together(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
}

int32_t launch_gathered(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                        const ExpertPairs& pairs, const CudaContext& context) {
  const sm80::FlatCall call{parts, count, glu};
  const MatmulArgs& a = call.first();
  return a.group_size == 64 ? sm80::launch_experts<FourBits<64>>(call, pairs, a.k / 2, context)
                            : sm80::launch_experts<FourBits<128>>(call, pairs, a.k / 2, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_b4_bf16_m16n16_sm80) = {
    .launch = launch,
    .workspace_bytes = nullptr,
    .joined = {.products = launch_together,
               .experts = launch_gathered,
               .experts_bytes = sm80::gather_bytes}};

}  // namespace stepless::kernels
