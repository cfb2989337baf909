// The planner's problem of a public ProblemSpec.
#pragma once
#include "dispatch/problem.hpp"
#include "stepless/plan.hpp"

namespace stepless {

/// Throws Error: invalid_argument, unsupported (a dense weight that is not transposed).
Problem problem_of(const ProblemSpec& spec);

}  // namespace stepless
