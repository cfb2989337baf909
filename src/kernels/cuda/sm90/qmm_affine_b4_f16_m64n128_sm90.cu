// 4-bit codes, x and scales in f16, for m from 33 on, in the order and with the bits of the unit
// kernels.
#include "kernels/cuda/sm90/wide_launch.cuh"

namespace stepless::kernels {
namespace {

using Row = sm90::WideRow<sm90::AffineKinds<sm80::F16, 4>>;

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_b4_f16_m64n128_sm90) = {
    .launch = Row::launch,
    .workspace_bytes = Row::workspace_bytes,
    .joined = {
        .products = Row::products, .experts = Row::experts, .experts_bytes = Row::experts_bytes}};

}  // namespace stepless::kernels
