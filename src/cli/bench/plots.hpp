// Which lines a result has to show, from its JSON: the same for a run and for a file of one.
#pragma once
#include <vector>

#include "base/json.hpp"
#include "cli/bench/plot.hpp"

namespace stepless::cli {

/// qmm: us over m beside the floor, a plot per shape. dot: GB/s over k. gather: us over tokens.
/// models, batch: tokens per second. Of other benches: none.
std::vector<Plot> plots_of(const OrderedJson& envelope);

}  // namespace stepless::cli
