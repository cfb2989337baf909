// A step whose prompt rows are computed in an order of their own runs in two parts: those rows,
// then the others, which may read what the first wrote.
#pragma once
#include "ops/backend.hpp"

namespace stepless {

struct SplitStep {
  RowGroup prompt, rest;
  std::vector<std::uint8_t> in_prompt;  // (sampled): which part draws it
};
/// Parts of a group that says which rows are a prompt's; rows keep their order. A part without rows
/// has no tokens.
SplitStep split_prompt_rows(const RowGroup& group);

/// What both parts drew, in the order of the step.
Sampled merge_sampled(const SplitStep& split, const Sampled& prompt, const Sampled& rest);

}  // namespace stepless
