// The loops of ceilings.inc, for those who measure a machine.
#pragma once
#include <span>

#include "kernels/ceiling_entry.hpp"
#include "kernels/kernel.hpp"

namespace stepless {

struct CeilingLoops {
  Isa isa;
  const kernels::CeilingEntry* entry;  // null when this build has no such target
};
/// Narrow instruction sets first.
std::span<const CeilingLoops> ceiling_loops();

}  // namespace stepless
