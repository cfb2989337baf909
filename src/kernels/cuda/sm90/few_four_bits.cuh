// Rows for m = 1..8 of 4 bits, scales and x of one type.
#pragma once
#include "kernels/cuda/sm90/few_launch.cuh"

namespace stepless::kernels::sm90 {
namespace {  // of each file its own

template <int kGroup, class Type>
struct EvenBits : FourBitsOf<kGroup, Type> {};

// Blocks of whole tiles (flat_few) meet once and hand nothing on: where they have two to four each
// and few are idle, 4096 x 14336 takes 15.3 us instead of 16.2. With one each 2048 x 2048 takes 4.3
// instead of 3.6, with seven gate and up of 14336 x 4096 24.6 instead of 20.0. Up to 20 units of k
// stay with what steps of 3 and 8 billion weights were measured by.
bool are_even(const FlatCall& call, const CudaContext& context) {
  constexpr int64_t kStays = 24;  // units of k whose x a block's warps read once
  const int64_t units = call.first().k / kUnitK;
  if (units <= 20) return false;
  const FlatWeights weights = weights_of(call, 1);
  const int items = weights.end[call.count - 1] / (weights.gated ? 2 : 1);
  const int each = divided_up(items, context.multiprocessors), tenths = units <= kStays ? 8 : 9;
  return each >= 2 && each <= 4 && items * 10 >= each * context.multiprocessors * tenths;
}

template <class Type>
struct FourBitRows {
  template <int kGroup>
  struct Of {
    static int32_t launch(const FlatCall& call, const CudaContext& context, const LoneNorm& norm) {
      if (norm.a == nullptr && are_even(call, context))
        return launch_few<1, 1, EvenBits<kGroup, Type>, 3, 384, 1>(call, context,
                                                                   {12, 48 << 10, 1});
      return launch_few_rows<BySums<FourBitsOf<kGroup, Type>>>(call, context, norm);
    }
  };
};

}  // namespace
}  // namespace stepless::kernels::sm90
