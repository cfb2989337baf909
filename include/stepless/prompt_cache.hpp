// Prompt cache files: the tokens of a prompt with the keys and values computed for them, so that
// later processes need not compute them again. Engine::save_prompt_cache() writes one,
// Engine::load_prompt_cache() takes one in.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stepless/model.hpp"

namespace stepless {

/// A file opened for a model: immutable, cheap to copy, mapped while in use.
class PromptCache {
 public:
  struct State;
  /// Checks all of it, a checksum of every byte too. Throws Error: not_found; corrupt for what is
  /// no prompt cache, is damaged, or was made for another model (its config, the names, types,
  /// shapes and first and last bytes of its tensors), type of activations, arithmetic or layout,
  /// with both values.
  static PromptCache open(const std::string& path, const Model& model);

  const std::vector<std::int32_t>& tokens() const;
  /// Tokens whose keys and values are in the file: whole KV pages of them. The rest is computed
  /// with what follows.
  std::int64_t stored_tokens() const;

  const std::shared_ptr<const State>& state() const { return state_; }

 private:
  explicit PromptCache(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

}  // namespace stepless
