// Flags of drafts: a smaller model that guesses ahead, or the text's own repetitions.
#include <iostream>

#include "cli/cli.hpp"
#include "cli/flags.hpp"

namespace stepless::cli {

void add_draft_flags(CLI::App& app, DraftFlags& f) {
  constexpr const char* kGroup = "Drafts";
  app.add_option("--draft-model,--model-draft", f.model,
                 "a smaller model with the same tokens guesses ahead; the text stays the same")
      ->group(kGroup);
  app.add_option("--prompt-lookup", f.prompt_lookup,
                 "or guess that the text repeats itself: find its last N tokens, or fewer, further "
                 "up; 0: off")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--num-draft-tokens,--draft-max", f.tokens,
                 "most tokens guessed ahead, 0 to 16; default: 3")
      ->check(CLI::Range(0, static_cast<int>(kMostDraftTokens)))
      ->group(kGroup);
}

void set_drafts(const DraftFlags& flags, const ModelFlags& model, const OutputFlags& output,
                EngineOptions& options) {
  if (!flags.model.empty() && flags.prompt_lookup > 0)
    usage_error("--draft-model and --prompt-lookup: give one of them");
  if (flags.tokens && flags.model.empty() && flags.prompt_lookup == 0)
    usage_error(
        "--num-draft-tokens: there is nothing to guess with; give --draft-model ID, or "
        "--prompt-lookup N");
  options.prompt_lookup = flags.prompt_lookup;
  if (flags.tokens) options.draft_tokens = *flags.tokens;
  if (flags.model.empty()) return;
  ModelFlags draft = model;
  draft.model = flags.model;
  draft.synthetic.clear();
  draft.chat_template.clear();
  draft.chat_template_file.clear();
  draft.ctx_size = 0;  // the text's limit; a draft model that reads less stops guessing
  draft.trust_remote_code = false;  // its note is out already
  options.draft_model = open_model(draft, output);
}

}  // namespace stepless::cli
