// Affine weights of every width times activations that are rounded to 8 bits. Order int8_groups, as
// the row of four bits, which is faster where it can run.
#include "kernels/cpu/avx2/i8_panel.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  static constexpr void (*kByBits[])(const MatmulArgs&, Slice) = {nullptr,
                                                                  run_panels<Naturals<1>>,
                                                                  run_panels<Naturals<2>>,
                                                                  run_panels<Naturals<3>>,
                                                                  run_panels<Naturals<4>>,
                                                                  run_panels<Naturals<5>>,
                                                                  run_panels<Naturals<6>>,
                                                                  nullptr,
                                                                  run_panels<Naturals<8>>};
  kByBits[args.bits](args, units);
}

STEPLESS_KERNEL(qmm_affine_bany_i8_m4n16_avx2) = {prepare_rows<Elements::naturals>, run, nullptr};

}  // namespace stepless::kernels
