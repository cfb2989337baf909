// Affine weights of every width times activations that are rounded to 8 bits, in panels for every
// m. Order int8_groups, as the row of four bits, which is faster where it can run.
#include "kernels/cpu/avxvnni/tiles.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  static constexpr void (*kByBits[])(const MatmulArgs&, Slice) = {nullptr,
                                                                  run_tiles<1, Naturals<1>>,
                                                                  run_tiles<1, Naturals<2>>,
                                                                  run_tiles<1, Naturals<3>>,
                                                                  run_tiles<1, Naturals<4>>,
                                                                  run_tiles<1, Naturals<5>>,
                                                                  run_tiles<1, Naturals<6>>,
                                                                  nullptr,
                                                                  run_tiles<1, WholeBytes>};
  kByBits[args.bits](args, units);
}

STEPLESS_KERNEL(qmm_affine_bany_i8_m6n16_avxvnni) = {
    prepare_planes<1, Elements::naturals, byte_scale>, run, nullptr};

}  // namespace stepless::kernels
