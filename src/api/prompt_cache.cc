// stepless::PromptCache: the public handle over a PromptCacheFile.
#include "stepless/prompt_cache.hpp"

#include "api/model_state.hpp"
#include "api/prompt_cache_state.hpp"

namespace stepless {

PromptCache PromptCache::open(const std::string& path, const Model& model) {
  const auto& loaded = model.state()->loaded;
  return PromptCache(std::make_shared<const State>(State{PromptCacheFile(path, *loaded), loaded}));
}

const std::vector<std::int32_t>& PromptCache::tokens() const { return state_->file.tokens(); }

std::int64_t PromptCache::stored_tokens() const { return state_->file.stored_tokens(); }

}  // namespace stepless
