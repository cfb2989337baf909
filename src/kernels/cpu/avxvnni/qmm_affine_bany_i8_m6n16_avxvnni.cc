// Affine weights of every width times activations that are rounded to 8 bits. Order int8_groups, as
// the row of four bits, which is faster where it can run.
#include "kernels/cpu/avxvnni/tiles.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  static constexpr void (*kByBits[])(const MatmulArgs&, Slice) = {nullptr,
                                                                  run_codes<1, InOrder<1>>,
                                                                  run_codes<1, InOrder<2>>,
                                                                  run_codes<1, InOrder<3>>,
                                                                  run_codes<1, InOrder<4>>,
                                                                  run_codes<1, InOrder<5>>,
                                                                  run_codes<1, InOrder<6>>,
                                                                  nullptr,
                                                                  run_codes<1, InOrder<8>>};
  kByBits[args.bits](args, units);
}

STEPLESS_KERNEL(qmm_affine_bany_i8_m6n16_avxvnni) = {
    prepare_planes<1, Elements::naturals, byte_scale>, run, nullptr};

}  // namespace stepless::kernels
