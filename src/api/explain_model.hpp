// `explain --model`: the planned Program as a table, a block per phase, equal layers folded.
#pragma once
#include <string>

#include "model/model.hpp"
#include "stepless/model.hpp"

namespace stepless {

struct ExplainModel {
  std::int64_t batch = 1, context = 512, prompt = 0;
  std::string
      phase;  // "", "decode" or "prefill": the default is decode, and prefill too when prompt > 0
  int layer = -1;  // 0 or more: the block of `explain` for each weight of that layer
  bool json = false;
  const MeasuredModel* measured = nullptr;  // times beside the predictions; null: none
};

/// Throws Error (invalid_argument): an unknown phase, a layer there is not.
std::string explain_model(const LoadedModel& model, const ExplainModel& wish);

}  // namespace stepless
