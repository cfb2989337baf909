#include "cli/prompt_cache_flags.hpp"

#include "cli/cli.hpp"

namespace stepless::cli {

void add_prompt_cache_flags(CLI::App& app, PromptCacheFlags& f) {
  constexpr const char* kGroup = "Prompt cache";
  app.add_option("--prompt-cache-file", f.file,
                 "continue the prompt that cache-prompt computed into this file")
      ->group(kGroup);
  app.add_option("--prompt-cache-size", f.size,
                 "on: beginnings that prompts have in common are computed once; 0: each for itself")
      ->check(CLI::IsMember({"on", "0"}))
      ->capture_default_str()
      ->group(kGroup);
}

std::optional<PromptCache> open_prompt_cache(const PromptCacheFlags& flags, const Model& model) {
  if (flags.file.empty()) return std::nullopt;
  if (flags.size == "0")
    throw ExitError(Exit::usage, ErrorCode::invalid_argument,
                    "--prompt-cache-size 0: nothing is reused, --prompt-cache-file neither; give "
                    "one of them");
  try {
    return PromptCache::open(flags.file, model);
  } catch (const Error& error) {
    rethrow_for_model(error);
  }
}

void apply(const PromptCacheFlags& flags, EngineOptions& options) {
  options.prefix_reuse = flags.size != "0";
}

}  // namespace stepless::cli
