// Fixtures of models: logits, greedy continuations and perplexity of checkpoints, under each
// activation type that the fixture states a tolerance for.
#pragma once
#include <string>

#include "base/golden_report.hpp"
#include "stepless/model.hpp"

namespace stepless {

/// dir/index.json lists checkpoints of families with references of two sequences each.
GoldenReport run_golden_families(const std::string& dir, const ModelOptions& options);
/// How many of a fixture's windows of text are read for its perplexity: the few that it states a
/// mean for, or all.
enum class Windows { few, all };

/// dir/index.json lists complete checkpoints with NAME.reference.json: logits, greedy texts and,
/// where the fixture has one, perplexity.
GoldenReport run_golden_models(const std::string& dir, const ModelOptions& options,
                               Windows windows = Windows::all);

}  // namespace stepless
