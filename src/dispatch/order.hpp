// In which order k is summed: a property of a weight on an ISA set and of what rows are for
// (Problem::role), never of m, of the thread count or of measured speed.
#pragma once
#include <span>
#include <vector>

#include "dispatch/machine.hpp"
#include "dispatch/problem.hpp"

namespace stepless {

/// Orders from the one to take first; stated once, for all modes, because what decides is the
/// widest arithmetic.
std::span<const Order> order_preference();

/// The first order of the list whose kernels, legal here for some m, together serve every m from 1
/// on. Looks at mode, bits, group, types, n, k, the ISA set and whether the machine does bf16 dots
/// faster than fma. Precision::int8 puts the order of 8-bit activations first; what has no row of
/// it stays exact. Throws Error (unsupported) when there is none.
Order choose_order(const Problem& problem, const Machine& machine,
                   Precision precision = Precision::exact);

}  // namespace stepless
