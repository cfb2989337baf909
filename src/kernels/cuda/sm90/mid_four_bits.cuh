// Rows for m = 9..64 of 4 bits, scales and x of one type: also behind a norm, and gate and up with
// the product behind them, whose x then comes as operands.
#pragma once
#include "kernels/cuda/sm90/mid_launch.cuh"
#include "kernels/cuda/sm90/mid_norm.cuh"

namespace stepless::kernels::sm90 {
namespace {  // of each file its own

/// Of x as operands, whatever m and the size of groups.
constexpr int64_t operand_bytes(int64_t k) { return k / kUnitK * MidX<64>::unit_bytes(64); }

template <class Type>
struct MidFourBits {
  template <int kGroup>
  using Format = FourBitsOf<kGroup, Type>;
  using Row = MidRow<Format>;

  /// Behind the tickets are sums, x as operands, and those that gates leave to a product of the k
  /// that half of all outputs are.
  static int64_t workspace_bytes(const void* args) {
    const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
    return Row::workspace_bytes(args) + operand_bytes(a.k) + operand_bytes(a.n / 2);
  }

  /// Where a product finds its x as operands, from `at` on, as its launch will take it.
  template <int kGroup>
  static MidX<kGroup> x_of(const FlatCall& call, uint8_t* at, const CudaContext& context) {
    MidX<kGroup> x{at, 0, static_cast<int>(call.first().k / kUnitK)};
    choose<Format<kGroup>>(call, context, [&]<int kCols>() {
      x.cols = kCols;
      return 0;
    });
    return x;
  }

  template <int kGroup>
  static int32_t norm_in_front(const AddArgs& add, const NormArgs& norm, const FlatCall& call,
                               const MidX<kGroup>& x, const CudaContext& context) {
    NormShape shape{norm, add.b, add.y};
    shape.norm.x = add.a;
    return is_x_of(shape, call.first(), Type::kType) ? launch_norm_as_mid_x<Type>(shape, x, context)
                                                     : cudaErrorNotSupported;
  }

  template <int kGroup>
  static int32_t launch_behind_norm(const AddArgs& add, const NormArgs& norm, const FlatCall& call,
                                    const MidX<kGroup>& next, const CudaContext& context) {
    uint8_t* const at =
        context.workspace + kTicketBytes + sum_bytes(outputs_of(call), call.first().k);
    const MidX<kGroup> x = x_of<kGroup>(call, at, context);
    const int32_t error = norm_in_front(add, norm, call, x, context);
    return error != cudaSuccess ? error
                                : launch_product<Format<kGroup>>(call, {x.at, true, next}, context);
  }

  static int32_t launch_normed(const AddArgs& add, const NormArgs& norm, const MatmulArgs* parts,
                               int64_t count, const GluArgs* glu, const CudaContext& context) {
    const FlatCall call{parts, count, glu};
    return call.first().group_size == 64 ? launch_behind_norm<64>(add, norm, call, {}, context)
                                         : launch_behind_norm<128>(add, norm, call, {}, context);
  }

  /// Gates make operands of groups of 64: a round has no more of k.
  static int32_t launch_feed_forward(const AddArgs& add, const NormArgs& norm,
                                     const MatmulArgs* gate_and_up, const GluArgs& glu,
                                     const MatmulArgs& down, const CudaContext& context) {
    const FlatCall both{gate_and_up, 2, &glu}, behind{&down, 1, nullptr};
    if (glu.y != down.x || glu.rows != down.m || glu.width != down.k ||
        both.first().group_size != 64 || down.group_size != 64)
      return cudaErrorNotSupported;
    const int64_t own = sum_bytes(outputs_of(both), both.first().k) + operand_bytes(both.first().k);
    const int64_t others = sum_bytes(outputs_of(behind), down.k);
    uint8_t* const at = context.workspace + kTicketBytes + (own > others ? own : others);
    const MidX<64> next = x_of<64>(behind, at, context);
    const int32_t error = launch_behind_norm<64>(add, norm, both, next, context);
    return error != cudaSuccess ? error
                                : launch_product<Format<64>>(behind, {at, true, {}}, context);
  }

  static constexpr CudaEntry entry{.launch = Row::launch,
                                   .workspace_bytes = workspace_bytes,
                                   .joined = {.products = Row::products,
                                              .normed_products = launch_normed,
                                              .feed_forward = launch_feed_forward}};
};

}  // namespace
}  // namespace stepless::kernels::sm90
