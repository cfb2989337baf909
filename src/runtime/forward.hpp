// Logits of chosen positions of one token sequence: selftest, perplexity, tests. No sampling, no
// scheduler.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "model/model.hpp"
#include "ops/backend.hpp"
#include "runtime/kv_table.hpp"

namespace stepless {

class Forward {
 public:
  /// One KV cache of `context` positions. Throws Error (exhausted).
  Forward(std::shared_ptr<const LoadedModel> model, std::unique_ptr<Backend> backend,
          std::int64_t context);

  /// Forgets everything that was read.
  void reset();
  std::int64_t position() const { return position_; }
  /// Appends tokens and returns the logits of the last `last` of them, (last, vocab) row by row.
  /// Throws Error (invalid_argument): the context is full, an id beyond the vocabulary.
  std::vector<float> append(std::span<const std::int32_t> tokens, std::int64_t last);

 private:
  std::shared_ptr<const LoadedModel> model_;
  std::unique_ptr<Backend> backend_;
  KvLayout layout_;
  KvPool pool_{1}, packed_pool_{1};
  KvTable pages_;
  std::int64_t context_, position_ = 0;
};

}  // namespace stepless
