// y = x · wᵀ in float32, x in float32 or f16, scales in bf16: x in pieces, by the rows for bf16.
#include "kernels/cuda/sm80/x_pieces.cuh"

namespace stepless::kernels {

extern const CudaEntry qmm_affine_b1_bf16_m16n16_sm80, qmm_affine_b2_bf16_m16n16_sm80,
    qmm_affine_b3_bf16_m16n16_sm80, qmm_affine_b4_bf16_m16n16_sm80, qmm_affine_b5_bf16_m16n16_sm80,
    qmm_affine_b6_bf16_m16n16_sm80, qmm_affine_b8_bf16_m16n16_sm80, qmm_affine_b4_bf16_m64n32_sm80;

namespace {

struct Rows {
  static int64_t most(const MatmulArgs& a) { return a.bits == 4 ? 64 : 16; }
  static const CudaEntry& of(const MatmulArgs& a) {
    switch (a.bits) {
      case 1:
        return qmm_affine_b1_bf16_m16n16_sm80;
      case 2:
        return qmm_affine_b2_bf16_m16n16_sm80;
      case 3:
        return qmm_affine_b3_bf16_m16n16_sm80;
      case 5:
        return qmm_affine_b5_bf16_m16n16_sm80;
      case 6:
        return qmm_affine_b6_bf16_m16n16_sm80;
      case 8:
        return qmm_affine_b8_bf16_m16n16_sm80;
      default:
        return a.m <= 16 ? qmm_affine_b4_bf16_m16n16_sm80 : qmm_affine_b4_bf16_m64n32_sm80;
    }
  }
};

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_bany_fany_m5n16_sm80) = sm80::PieceRow<Rows>::entry;

}  // namespace stepless::kernels
