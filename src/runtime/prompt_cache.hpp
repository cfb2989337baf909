// Prompt cache files: a prompt's tokens and the KV pages that were computed for them, as a
// safetensors file.
//   tokens           I32 (tokens)
//   layers.N.keys    (pages, kv_heads, page_tokens, k_dim) of the activations' type
//   layers.N.values  (pages, kv_heads, page_tokens, v_dim)
// There is a page for every whole page_tokens of the tokens; what is left of them is computed
// again.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "format/safetensors.hpp"
#include "model/model.hpp"
#include "ops/backend.hpp"

namespace stepless {

/// One file, checked against the model that will read it. The pages stay mapped.
class PromptCacheFile {
 public:
  /// Throws Error: not_found; corrupt for what is no such file, is damaged, or was written for
  /// another model, type, arithmetic or layout, with both values.
  PromptCacheFile(const std::string& path, const LoadedModel& model);

  const std::string& path() const { return file_.path(); }
  const std::vector<std::int32_t>& tokens() const { return tokens_; }
  std::int64_t pages() const { return pages_; }
  std::int64_t stored_tokens() const { return pages_ * page_tokens_; }
  /// Copies all layers into these pages of a backend. Throws Error (corrupt): the file was cut
  /// meanwhile.
  void load(Backend& backend, std::span<const std::int32_t> pages) const;

 private:
  SafetensorsFile file_;
  std::vector<std::int32_t> tokens_;
  std::int64_t pages_ = 0, page_tokens_ = 0, layers_ = 0;
};

/// Writes the tokens and the pages that hold them, readable by the owner alone: the whole file or
/// none. Throws Error (exhausted): the disk.
void write_prompt_cache(const std::string& path, const LoadedModel& model, const Backend& backend,
                        std::span<const std::int32_t> tokens, std::span<const std::int32_t> pages);

}  // namespace stepless
