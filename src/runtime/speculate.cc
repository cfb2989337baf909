#include "runtime/speculate.hpp"

#include "base/error.hpp"
#include "runtime/model_drafter.hpp"

namespace stepless {
namespace {

/// Guesses that a text repeats itself: names, quotations, code, lists.
class LookupDrafter final : public Drafter {
 public:
  LookupDrafter(std::shared_ptr<const LoadedModel> target, std::int64_t longest)
      : target_(std::move(target)), longest_(longest) {}

  double draft(std::span<const DraftTask> tasks) override {
    for (const DraftTask& task : tasks)
      for (const std::int32_t token : look_up(task.sequence->tokens, longest_, task.most))
        if (!add_guess(*target_, *task.sequence, token)) break;
    return 0;  // lost in a step
  }

 private:
  std::shared_ptr<const LoadedModel> target_;
  std::int64_t longest_;
};

}  // namespace

bool add_guess(const LoadedModel& target, Sequence& sequence, std::int32_t token) {
  if (token < 0 || token >= target.program->vocab) return false;
  if (ends_sequence(target, sequence, token)) return false;
  sequence.tokens.push_back(token);
  ++sequence.guessed;
  return true;
}

std::vector<std::int32_t> look_up(std::span<const std::int32_t> tokens, std::int64_t longest,
                                  std::int64_t most) {
  const auto size = static_cast<std::int64_t>(tokens.size());
  const auto at = [&](std::int64_t i) { return tokens[static_cast<std::size_t>(i)]; };
  std::int64_t best = 0, next = size;
  for (std::int64_t end = size - 1; end > 0 && best < longest; --end) {
    std::int64_t same = 0;
    while (same < std::min(longest, end) && at(end - 1 - same) == at(size - 1 - same)) ++same;
    if (same > best) best = same, next = end;
  }
  std::vector<std::int32_t> guesses;
  if (best == 0) return guesses;
  for (std::int64_t i = 0; i < most; ++i, ++next)
    guesses.push_back(next < size ? at(next) : guesses[static_cast<std::size_t>(next - size)]);
  return guesses;
}

std::unique_ptr<Drafter> make_drafter(std::shared_ptr<const LoadedModel> target,
                                      const EngineOptions& options, DraftModel draft) {
  if (options.draft_tokens < 0 || options.draft_tokens > kMostDraftTokens)
    fail(ErrorCode::invalid_argument, "draft tokens: {}; from 0 to {}", options.draft_tokens,
         kMostDraftTokens);
  if (options.prompt_lookup < 0)
    fail(ErrorCode::invalid_argument, "prompt lookup: {} tokens; 0 (off) or more",
         options.prompt_lookup);
  if (draft.model && options.prompt_lookup > 0)
    fail(ErrorCode::invalid_argument,
         "drafts: a draft model and prompt lookup are both asked for; one of them");
  if (draft.model) {
    check_same_vocabulary(*target, *draft.model);
    if (!draft.model->program->state_layers.empty())
      fail(ErrorCode::unsupported,
           "draft model {}: its layers are recurrent; only models of attention can guess",
           draft.model->name);
  }
  if (options.draft_tokens == 0) return nullptr;
  if (draft.model) return make_model_drafter(std::move(target), std::move(draft));
  if (options.prompt_lookup == 0) return nullptr;
  return std::make_unique<LookupDrafter>(std::move(target), options.prompt_lookup);
}

}  // namespace stepless
