// Flags of prefix reuse and of prompt cache files.
#pragma once
#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "stepless/engine.hpp"
#include "stepless/prompt_cache.hpp"

namespace stepless::cli {

struct PromptCacheFlags {
  std::string file, size = "on";
};
void add_prompt_cache_flags(CLI::App& app, PromptCacheFlags& flags);

/// The file of --prompt-cache-file, checked; nothing without the flag. Throws Error with
/// Exit::model for what is wrong with it.
std::optional<PromptCache> open_prompt_cache(const PromptCacheFlags& flags, const Model& model);
/// Sets what the flags say of an engine.
void apply(const PromptCacheFlags& flags, EngineOptions& options);

}  // namespace stepless::cli
