// Runs a folder of operation fixtures (quantize, qmm, batch, gather, special, dot .json beside
// their tensors) through the doors of this library: `stepless selftest --golden` and the test suite
// share it. Prints nothing.
#pragma once
#include <string>

#include "base/golden_report.hpp"
#include "ops/context.hpp"

namespace stepless {

/// Every case of the JSON files that `dir` holds. A case passes when all it states holds: tolerance
/// at every m, equal bits of a row at every m, exact values, NaN rows. Throws Error only when `dir`
/// is no folder; a broken file fails its cases.
GoldenReport run_golden_ops(Context& context, const std::string& dir);

}  // namespace stepless
