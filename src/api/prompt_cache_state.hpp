// What a public PromptCache handle points to.
#pragma once
#include "runtime/prompt_cache.hpp"
#include "stepless/prompt_cache.hpp"

namespace stepless {

struct PromptCache::State {
  PromptCacheFile file;
  std::shared_ptr<const LoadedModel> model;  // the one it was checked against
};

}  // namespace stepless
