#include "kernels/ceilings.hpp"

#include "kernels/targets.hpp"

namespace stepless {

namespace kernels {
#define CEILING(isa, name) extern const CeilingEntry name;
#include "kernels/ceilings.inc"
#undef CEILING
}  // namespace kernels

std::span<const CeilingLoops> ceiling_loops() {
  static const CeilingLoops kLoops[] = {
#define CEILING(isa, name) {Isa::isa, STEPLESS_BUILT_##isa(&kernels::name)},
#include "kernels/ceilings.inc"
#undef CEILING
  };
  return kLoops;
}

}  // namespace stepless
