// The other widths of affine weights under flat_gather.
#pragma once
#include "kernels/cuda/sm80/flat_formats.cuh"
#include "kernels/cuda/sm80/flat_gather.cuh"

namespace stepless::kernels::sm80 {

/// Warps and stages as launch_width() has them for up to eight rows.
template <int kBits, int kGroup>
static int32_t launch_width_experts(const FlatCall& call, const ExpertPairs& pairs,
                                    const CudaContext& context) {
  constexpr int kStages = kBits <= 2 ? 5 : kBits == 3 ? 4 : 3;
  return launch_experts < WideBits<kBits, kGroup>, kStages, kBits == 8 ? 10 : 12,
         kBits == 8 ? 3 : 5 > (call, pairs, call.first().k / 8 * kBits, context);
}

template <int kBits>
static int32_t launch_format_experts(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                                     const ExpertPairs& pairs, const CudaContext& context) {
  const FlatCall call{parts, count, glu};
  return call.first().group_size == 64 ? launch_width_experts<kBits, 64>(call, pairs, context)
                                       : launch_width_experts<kBits, 128>(call, pairs, context);
}

}  // namespace stepless::kernels::sm80
