// Logits of chosen positions of token sequences: selftest, perplexity, tests. No sampling, no
// scheduler.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "model/model.hpp"
#include "ops/backend.hpp"
#include "runtime/kv_table.hpp"

namespace stepless {

/// One token of one sequence, the next after those that were read.
struct ForwardRow {
  std::int64_t sequence = 0;
  std::int32_t token = 0;
};

class Forward {
 public:
  /// One KV cache of `context` positions for each of `sequences` sequences. Throws Error
  /// (exhausted).
  Forward(std::shared_ptr<const LoadedModel> model, std::unique_ptr<Backend> backend,
          std::int64_t context, std::int64_t sequences = 1);

  /// Forgets everything that was read.
  void reset();
  std::int64_t position() const { return sequences_[0].position; }

  /// Rows whose logits one step can give.
  std::int64_t most_rows() const;
  /// One step over rows of any sequences; rows of one sequence in order. Writes the logits of
  /// every row, (rows, vocab). Throws Error (invalid_argument): too many rows, a full context, an
  /// id beyond the vocabulary; (corrupt) when the weights were cut meanwhile.
  void step(std::span<const ForwardRow> rows, float* logits);
  /// Appends tokens to sequence 0 and returns the logits of the last `last` of them, (last, vocab)
  /// row by row. Throws Error as step() does.
  std::vector<float> append(std::span<const std::int32_t> tokens, std::int64_t last);

 private:
  struct Sequence {
    KvTable pages;
    std::int64_t position = 0;
  };
  void add_row(RowGroup& group, const ForwardRow& row, bool wanted);
  void run(const RowGroup& group);

  std::shared_ptr<const LoadedModel> model_;
  std::unique_ptr<Backend> backend_;
  std::vector<Sequence> sequences_;
  std::int64_t context_;
  KvLayout layout_;
  KvPool pool_{1}, packed_pool_{1};
};

}  // namespace stepless
