// y = x · wᵀ in float32: x in pieces, by Hopper's rows for bf16.
#include "kernels/cuda/sm80/x_pieces.cuh"

namespace stepless::kernels {

extern const CudaEntry qmm_mxfp4_b4_bf16_m8n16_sm90, qmm_mxfp4_b4_bf16_m64n64_sm90,
    qmm_mxfp4_b4_bf16_m128n128_sm90;

STEPLESS_CUDA_KERNEL(qmm_mxfp4_b4_f32_m21n64_sm90) =
    sm80::PieceRow<sm80::RowsOfThree<qmm_mxfp4_b4_bf16_m8n16_sm90, qmm_mxfp4_b4_bf16_m64n64_sm90,
                                     qmm_mxfp4_b4_bf16_m128n128_sm90>>::entry;

}  // namespace stepless::kernels
