// mxfp8, x in bf16, for m from 33 on, in the order and with the bits of the unit kernels.
#include "kernels/cuda/sm90/wide_launch.cuh"

namespace stepless::kernels {
namespace {

using Row = sm90::WideRow<sm90::UnitKinds<sm80::Mxfp8Units<sm80::Bf16>>>;

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_mxfp8_b8_bf16_m128n128_sm90) = {
    .launch = Row::launch,
    .workspace_bytes = Row::workspace_bytes,
    .joined = {
        .products = Row::products, .experts = Row::experts, .experts_bytes = Row::experts_bytes}};

}  // namespace stepless::kernels
