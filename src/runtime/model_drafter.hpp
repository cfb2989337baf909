// Drafts by a smaller model with the same tokens: all sequences in one launch per guess.
#pragma once
#include "runtime/speculate.hpp"

namespace stepless {

/// Throws Error (invalid_argument) naming both models: tokens differ in number or in text.
void check_same_vocabulary(const LoadedModel& target, const LoadedModel& draft);

/// Prepares the draft's backend. Throws Error: exhausted (its step does not fit).
std::unique_ptr<Drafter> make_model_drafter(std::shared_ptr<const LoadedModel> target,
                                            DraftModel draft);

}  // namespace stepless
