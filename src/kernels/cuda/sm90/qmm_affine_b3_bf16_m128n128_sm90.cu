// 3-bit codes of bf16 for m from 65 on, in the order and with the bits of the flat kernels.
#include "kernels/cuda/sm90/wide_launch.cuh"

namespace stepless::kernels {
namespace {

using Row = sm90::WideRow<sm90::FlatKinds<sm90::WideWidth<3>::Of>>;

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_b3_bf16_m128n128_sm90) = {
    .launch = Row::launch,
    .workspace_bytes = Row::workspace_bytes,
    .joined = {
        .products = Row::products, .experts = Row::experts, .experts_bytes = Row::experts_bytes}};

}  // namespace stepless::kernels
