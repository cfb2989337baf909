// y = x · wᵀ for m = 1..8 on Hopper, in the order and with the bits of the flat kernels.
#include "kernels/cuda/sm90/few_launch.cuh"

namespace stepless::kernels {
namespace {

template <int kGroup>
struct EvenBits : sm80::FourBits<kGroup> {};  // an instance of this file's own

// Blocks of whole tiles (flat_few) meet once and hand nothing on: where they have two to four each
// and few are idle, 4096 x 14336 takes 15.3 us instead of 16.2. With one each 2048 x 2048 takes 4.3
// instead of 3.6, with seven gate and up of 14336 x 4096 24.6 instead of 20.0. Up to 20 units of k
// stay with what steps of 3 and 8 billion weights were measured by.
bool are_even(const sm80::FlatCall& call, const CudaContext& context) {
  constexpr int64_t kStays = 24;  // units of k whose x a block's warps read once
  const int64_t units = call.first().k / sm80::kUnitK;
  if (units <= 20) return false;
  const sm80::FlatWeights weights = sm80::weights_of(call, 1);
  const int items = weights.end[call.count - 1] / (weights.gated ? 2 : 1);
  const int each = sm80::divided_up(items, context.multiprocessors),
            tenths = units <= kStays ? 8 : 9;
  return each >= 2 && each <= 4 && items * 10 >= each * context.multiprocessors * tenths;
}

template <int kGroup>
struct Rows {
  static int32_t launch(const sm80::FlatCall& call, const CudaContext& context,
                        const sm90::LoneNorm& norm) {
    if (norm.a == nullptr && are_even(call, context))
      return sm80::launch_few<1, 1, EvenBits<kGroup>, 3, 384, 1>(call, context, {12, 48 << 10, 1});
    return sm90::launch_few_rows<sm90::BySums<sm80::FourBits<kGroup>>>(call, context, norm);
  }
};

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_b4_bf16_m8n16_sm90) = sm90::FewEntry<Rows>::entry;

}  // namespace stepless::kernels
