// What every bench makes of BenchOptions: the machine it may use, how often it samples.
#pragma once
#include "base/measure.hpp"
#include "dispatch/machine.hpp"
#include "stepless/bench.hpp"

namespace stepless {

/// This machine without what max_isa forbids, so that ceilings and kernels are of one set. Throws
/// Error (invalid_argument): an unknown ISA, one that this CPU lacks.
Machine machine_for(const BenchOptions& options);
/// Throws Error (invalid_argument) unless there is a round.
MeasureOptions measure_options(const BenchOptions& options);

}  // namespace stepless
