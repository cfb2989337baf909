// What a file of ceilings.inc exports: loops of one instruction set that bench measures beside its
// runs. For kernel folders, as args.hpp.
#pragma once
#include <cstdint>

namespace stepless::kernels {

using std::int64_t;
using std::uint64_t;
using std::uint8_t;

/// Each loop does its work and returns how many operations that was (a product and an add are two);
/// null: the set has no such instruction. read() passes `bytes` from `at` through the registers
/// once, save what is left of its last block.
struct CeilingEntry {
  void (*read)(const uint8_t* at, int64_t bytes);
  int64_t (*f32)(int64_t steps);
  int64_t (*bf16)(int64_t steps);   // pairs of bf16 into f32
  int64_t (*int16)(int64_t steps);  // pairs of int16 into int32
  int64_t (*int8)(int64_t steps);   // int8 into int32
};
/// Calls `add` on kChains sums in turn, `steps` times: so many sums that none waits for its own. In
/// `add` an empty asm statement keeps what the compiler could compute once. Returns the calls.
template <int kChains, class Sum, class Add>
static inline int64_t in_chains(int64_t steps, Sum start, Add add) {
  static_assert(kChains <= 16, "the loops below are unrolled");
  Sum sums[kChains];
#pragma GCC unroll 16
  for (int i = 0; i < kChains; ++i) sums[i] = start;
  for (int64_t s = 0; s < steps; ++s)
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) add(sums[i]);
  return steps * kChains;
}

/// Defines the exported symbol: STEPLESS_CEILING(ceilings_avx2) = {read, f32, ...};
#define STEPLESS_CEILING(name)    \
  extern const CeilingEntry name; \
  const CeilingEntry name

}  // namespace stepless::kernels
