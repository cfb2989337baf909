// 8-bit codes, x and scales in bf16, for m = 9..64, in the order and with the bits of flat_few.
#include "kernels/cuda/sm90/mid_launch.cuh"

namespace stepless::kernels {
namespace {

template <int kGroup>
using Format = sm80::WideBits<8, kGroup>;
using Row = sm90::MidRow<Format>;

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_b8_bf16_m64n64_sm90) = {.launch = Row::launch,
                                                        .workspace_bytes = Row::workspace_bytes,
                                                        .joined = {.products = Row::products}};

}  // namespace stepless::kernels
