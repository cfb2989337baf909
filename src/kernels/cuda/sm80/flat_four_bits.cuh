// Rows of the flat family for 4 bits, scales and x of one type.
#pragma once
#include "kernels/cuda/sm80/flat_gather.cuh"

namespace stepless::kernels::sm80 {
namespace {  // of each file its own

/// m = 1..16: x in registers, one reading of the weights.
///
/// Warps and stages: the best of three sweeps on an H100. Twelve warps of at most 168 registers won
/// over 8, 10, 16 and 20; two blocks of 8 or 10 warps per multiprocessor lost. Up to 8 rows only
/// half a chain's x stays in registers: 136 of them leave room for the small kernels of a step
/// beside a block, which shortens a layer's products and norms on an H200 from 42.5 to 40.7 us (1
/// row) and from 52.3 to 47.0 (8).
template <class Type>
struct FlatFewRows {
  template <int kGroup>
  static int32_t launch_rows(const FlatCall& call, const CudaContext& context) {
    using Format = FourBitsOf<kGroup, Type>;
    return call.first().m <= 8
               ? launch_few<1, 1, Format, 3, 384, 1>(call, context, {12, 48 << 10, 1})
               : launch_few<2, 1, Format, 3, 384, 1>(call, context, {12, 80 << 10, 1});
  }
  static int32_t products(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                          const CudaContext& context) {
    const FlatCall call{parts, count, glu};
    return call.first().group_size == 64 ? launch_rows<64>(call, context)
                                         : launch_rows<128>(call, context);
  }
  static int32_t launch(const void* args, const CudaContext& context) {
    return products(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
  }
  static int32_t experts(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                         const ExpertPairs& pairs, const CudaContext& context) {
    const FlatCall call{parts, count, glu};
    const MatmulArgs& a = call.first();
    return a.group_size == 64
               ? launch_experts<FourBitsOf<64, Type>>(call, pairs, a.k / 2, context)
               : launch_experts<FourBitsOf<128, Type>>(call, pairs, a.k / 2, context);
  }
  static constexpr CudaEntry entry{
      .launch = launch,
      .workspace_bytes = nullptr,
      .joined = {.products = products, .experts = experts, .experts_bytes = gather_bytes}};
};

/// m from 17 on, 64 rows at a time: x in shared memory.
///
/// Bound by neither memory nor any one pipe: on an H200 warps stall on the weights, on fixed waits
/// and on the dispatch of products about alike. Tried and lost there (-5 to +12 %): the two chains
/// of a part in two warps, which spares the sums set aside and every spill; 8 and 10 warps instead
/// of 12; steps not unrolled.
template <class Type>
struct FlatManyRows {
  /// Row pairs that a block of flat_many walks over.
  static int pairs_of_block(const FlatCall& call, const CudaContext& context) {
    const int pairs = weights_of(call, kPairTiles).end[call.count - 1] / kPairTiles;
    const int parts = divided_up(static_cast<int>(call.first().k), kPartK);
    return divided_up(pairs * parts, context.multiprocessors);
  }
  template <int kGroup>
  static int32_t launch_rows(const FlatCall& call, const CudaContext& context) {
    using Format = FourBitsOf<kGroup, Type>;
    if (call.first().m > kManyRows / 2) return launch_many<2, 4, Format, 3, 4>(call, context);
    // A warp to a row pair, if there are pairs for twelve warps; else two.
    return pairs_of_block(call, context) > 6 ? launch_many<1, 4, Format, 2, 12>(call, context)
                                             : launch_many<2, 2, Format, 3, 6>(call, context);
  }
  static int32_t products(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                          const CudaContext& context) {
    return launch_slices({parts, count, glu}, kManyRows, [&](const FlatCall& call) {
      return call.first().group_size == 64 ? launch_rows<64>(call, context)
                                           : launch_rows<128>(call, context);
    });
  }
  static int32_t launch(const void* args, const CudaContext& context) {
    return products(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
  }
  static int64_t workspace_bytes(const void* args) {
    const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
    const int64_t parts = (a.k + kPartK - 1) / kPartK, rows = (a.n + 31) / 32 * 32;
    return kTicketBytes + rows * parts * kManyRows * 4;
  }
  static constexpr CudaEntry entry{
      .launch = launch, .workspace_bytes = workspace_bytes, .joined = {.products = products}};
};

}  // namespace
}  // namespace stepless::kernels::sm80
