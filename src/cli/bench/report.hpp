// Joins results into a page.
#pragma once
#include "cli/bench/bench.hpp"

namespace stepless::cli {

/// Markdown to stdout, or HTML into the file of --html.
Exit bench_report(const BenchFlags& flags);

}  // namespace stepless::cli
