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

/// The loop of a row's own arithmetic, and how often it does the work of one exact product.
struct Arithmetic {
  std::int64_t (*loop)(std::int64_t steps);
  int planes = 1;
};

inline Arithmetic arithmetic_of(const Kernel& row) {
  const bool one_plane = row.fields.order == Order::int8_groups;
  const Isa isa = row.is.isa == Isa::avx512vbmi ? Isa::avx512vnni : row.is.isa;
  const kernels::CeilingEntry& own = *ceilings_of(isa);
  if (isa == Isa::avx512vnni || isa == Isa::avxvnni) return {own.int8, one_plane ? 1 : 2};
  if (isa == Isa::avx512bf16) return {own.bf16};
  if (row.fields.order == Order::avx2_i16) return {own.int16};
  return {one_plane ? own.int8 : own.f32};
}

}  // namespace stepless::bench
