// The library's own ceiling loops, for the benches of CPU rows.
#pragma once
#include "bench/kernels/machine.hpp"
#include "kernels/ceilings.hpp"

namespace stepless::bench {

/// Null: this build has none of that set.
inline const kernels::CeilingEntry* ceilings_of(Isa isa) {
  for (const CeilingLoops& loops : ceiling_loops())
    if (loops.isa == isa) return loops.entry;
  return nullptr;
}

/// Those that read memory, of the widest set that this machine has.
inline const kernels::CeilingEntry& widest_ceilings() {
  for (const Isa isa : {Isa::avx512, Isa::avx2})
    if (machine_has(isa)) return *ceilings_of(isa);
  return *ceilings_of(Isa::cpu);
}

}  // namespace stepless::bench
