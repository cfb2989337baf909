// Every matrix kernel that this machine can run, against float64; the quantizers against digests of
// the fixtures' makers.
#pragma once
#include "base/golden_report.hpp"

namespace stepless {

/// `quick`: one shape per kernel instead of several.
GoldenReport run_selftest_kernels(int threads, bool quick);

}  // namespace stepless
