// One device that runs a Program. Called by the engine thread only. Throws Error; a step that threw
// commits nothing.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ops/program.hpp"
#include "stepless/kv.hpp"

namespace stepless {

/// Shape of the KV cache: pages of page_tokens positions in every KV layer, plain or packed.
struct KvShape {
  std::vector<KvLayerShape> layers;
  DType type = DType::bf16;
  std::int64_t page_tokens = kKvPageTokens;
  std::optional<QuantSpec> packing = {};  // of packed pages; none: there are none
  /// Bytes of one page over all layers, and of one position.
  std::int64_t page_bytes() const;
  std::int64_t token_bytes() const;
  std::int64_t packed_page_bytes() const;
  std::int64_t packed_token_bytes() const;
};
KvShape kv_shape(const Program& program);

/// How many pages of each form; a bare number is of plain ones.
struct KvPages {
  std::int64_t plain = 0, packed = 0;
  KvPages(std::int64_t plain_pages = 0, std::int64_t packed_pages = 0)
      : plain(plain_pages), packed(packed_pages) {}
  friend bool operator==(const KvPages&, const KvPages&) = default;
};

/// Shape of the recurrent state, as Program::state_layers has it; a slot holds all layers of one
/// sequence. Empty: the model has none.
struct StateShape {
  std::vector<std::int64_t> layers;  // floats
  std::int64_t slot_bytes() const;
};

/// Plain page `from` becomes page `to`, in every layer (copy on write).
struct PageCopy {
  std::int32_t from, to;
};

/// Bytes of pages of one KV layer on the host: keys (pages, kv_heads, page_tokens, k_dim), values
/// alike with v_dim.
struct PageBytes {
  std::vector<std::byte> keys, values;
};

/// What one step computes: rows of any sequences; those of one stand in order. Plain data; must
/// stay alive until collect(), but where a step may be in flight until launch() returns. Page 0
/// belongs to no sequence.
struct RowGroup {
  /// (m) ids, each below the vocabulary; where a step may be in flight, -1 - j is what the launch
  /// before draws at its sampled row j. The history of a row that begins with such a token ends
  /// before it: the backend adds it.
  std::vector<std::int32_t> tokens;
  std::vector<kernels::SeqRow> seq;  // (m) position and pages; pages of a row stay alive too
  /// (m), or empty for none: which rows lie in a page of prompt tokens alone. Such a page may be
  /// computed in an order of its own: whoever computes it sees the same.
  std::vector<std::uint8_t> prompt;
  std::vector<std::int32_t> sampled;         // rows whose next token is drawn, ascending
  std::vector<kernels::SampleRow> sampling;  // one per sampled row
  std::int32_t top_logprobs = 0;             // the most that a sampled row asks for
  float* logits = nullptr;  // (sampled, vocab) copied out when not null: tests and selftest
};

using Ticket = std::int64_t;

struct Sampled {
  std::vector<std::int32_t>
      tokens;  // one per sampled row; -1: no token can be drawn (logits not finite)
  std::vector<float> logprobs;
  std::vector<std::int32_t> top_ids;  // (sampled, top_logprobs)
  std::vector<float> top_logprobs;
};

class Backend {
 public:
  virtual ~Backend() = default;
  /// Bytes that may still be allocated; asked before allocating, for admission.
  virtual std::int64_t free_bytes() const = 0;
  /// Takes a placed and planned program whose views outlive the backend; allocates arena and
  /// workspace. Once.
  virtual void prepare(std::shared_ptr<const Program> program) = 0;
  /// Allocates the pages, page 0 of each form included. Throws Error (exhausted) with the sum that
  /// did not fit. Once, after prepare().
  virtual void allocate_kv(const KvShape& shape, const KvPages& pages) = 0;
  /// Allocates slots 1 .. `slots` of recurrent state. Throws Error (exhausted). Once, after
  /// prepare(). What a slot holds before a row leaves its state there is never read.
  virtual void allocate_state(const StateShape& shape, std::int64_t slots) = 0;
  /// Brings the kernels that steps launch to the device, which the first step to launch each would
  /// do otherwise. Once, after all allocations.
  virtual void load_kernels() {}
  virtual void copy_pages(std::span<const PageCopy> copies) = 0;  // ordered with launches
  /// Pages of one layer in the order given; both are ordered with launches. What is written must
  /// have been laid out by the same KvShape.
  virtual PageBytes read_pages(int layer, std::span<const std::int32_t> pages) const = 0;
  virtual void write_pages(int layer, std::span<const std::int32_t> pages, const std::byte* keys,
                           const std::byte* values) = 0;
  /// Whether one step may be launched while another is not collected. Asked after prepare().
  virtual bool flies() const { return false; }
  virtual Ticket launch(const RowGroup& group) = 0;
  /// In order of launch.
  virtual Sampled collect(Ticket ticket) = 0;
};

}  // namespace stepless
