// May a kernel run a problem on a machine? The first reason against it, in words. Cost plays no
// part here.
#pragma once
#include <string>

#include "dispatch/machine.hpp"
#include "dispatch/problem.hpp"

namespace stepless {

/// why_not() of select.hpp without its check of m: what makes a kernel a member of a weight's
/// order.
std::string why_not_any_m(const Kernel& kernel, const Problem& problem, const Machine& machine);

}  // namespace stepless
