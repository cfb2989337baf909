// y = x · wᵀ in float32, x in float32 or f16, scales in bf16: x in pieces, by Hopper's rows for
// bf16.
#include "kernels/cuda/sm80/x_pieces.cuh"

#define STEPLESS_EACH_BITS(F) F(1) F(2) F(3) F(4) F(5) F(6) F(8)
#define STEPLESS_DECLARE(bits)                                 \
  extern const CudaEntry qmm_affine_b##bits##_bf16_m8n16_sm90, \
      qmm_affine_b##bits##_bf16_m64n64_sm90;
#define STEPLESS_CASE(bits) \
  case bits:                \
    return a.m <= 8 ? qmm_affine_b##bits##_bf16_m8n16_sm90 : qmm_affine_b##bits##_bf16_m64n64_sm90;

namespace stepless::kernels {

STEPLESS_EACH_BITS(STEPLESS_DECLARE)
extern const CudaEntry qmm_affine_b4_bf16_m128n128_sm90, qmm_affine_b8_bf16_m128n128_sm90;

namespace {

/// Beyond 64 rows two widths have kernels: a tile's 128 rows at once.
struct Rows {
  static int64_t most(const MatmulArgs& a) { return a.bits == 4 || a.bits == 8 ? 128 : 64; }
  static const CudaEntry& of(const MatmulArgs& a) {
    if (a.m > 64)
      return a.bits == 4 ? qmm_affine_b4_bf16_m128n128_sm90 : qmm_affine_b8_bf16_m128n128_sm90;
    switch (a.bits) {
      STEPLESS_EACH_BITS(STEPLESS_CASE)
      default:
        return qmm_affine_b4_bf16_m64n64_sm90;  // there are no others
    }
  }
};

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_bany_fany_m21n64_sm90) = sm80::PieceRow<Rows>::entry;

}  // namespace stepless::kernels
