// What generate is asked: its flags, and the prompts they lead to.
#pragma once
#include <string>
#include <vector>

#include "cli/answer.hpp"
#include "cli/prompt_cache_flags.hpp"

namespace stepless::cli {

struct GenerateFlags {
  ModelFlags model;
  DraftFlags draft;
  SamplingFlags sampling;
  OutputFlags output;
  PromptCacheFlags cache;
  AnswerFlags answer;
  std::string prompt = "hello", prompt_file, prompts_file, prefill_response;
  std::int32_t logprobs = 0;
};
void add_generate_flags(CLI::App& app, GenerateFlags& flags);

struct Prompt {
  Request request;
};

/// The prompts in order: one, or a line each of --prompts; behind the tokens of the prompt cache,
/// if there is one. Throws Error naming the flag, or the file and line.
std::vector<Prompt> read_prompts(const GenerateFlags& flags, const Model& model,
                                 const std::optional<PromptCache>& cache);

/// What cache-prompt computes: the template up to the end of the prompt.
std::vector<std::int32_t> cached_prompt_tokens(const GenerateFlags& flags, const Model& model);

/// The context the engine needs for these prompts: --ctx-size, or the longest prompt with its
/// answer.
std::int64_t longest_sequence(const GenerateFlags& flags, const Model& model,
                              const std::vector<Prompt>& prompts);

}  // namespace stepless::cli
