// Affine 4-bit weights for few rows of x (few.hpp).
#include "kernels/cpu/avx512/few.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  const int64_t most = outputs_at_once(args.m);
  for (int64_t n = units.begin; n < units.end; n += most)
    kRunRows<Form::nibbles>[args.m - 1](args, n, least(units.end - n, most));
}

STEPLESS_KERNEL(qmm_affine_b4_fany_m6n4_avx512) = {prepare_few<true>, run, nullptr};

}  // namespace stepless::kernels
