// What a row reads of its sequence's KV pages, and which pages a sequence therefore needs. Pure:
// everything follows from positions, so its tests are tables.
#pragma once
#include "kernels/args.hpp"
#include "ops/backend.hpp"
#include "stepless/kv.hpp"

namespace stepless {

/// Pages [begin, end) of a sequence, by index.
struct PageRange {
  std::int64_t begin = 0, end = 0;
  bool holds(std::int64_t page) const { return page >= begin && page < end; }
  friend bool operator==(const PageRange&, const PageRange&) = default;
};

/// Positions that the row of a rotating cache always reads.
inline constexpr std::int64_t kKeptPositions = 4;

struct KvLayout {
  std::int64_t page_tokens = kKvPageTokens;
  bool packs = false;  // whether there are packed pages; `start` and `window` concern them
  std::int64_t start = 0, window = 0;
  std::int64_t max_size = 0;  // positions a row reads at most; 0: all

  static KvLayout of(const KvShape& shape, const KvOptions& options);
  /// Neither packs nor leaves out: every page is plain and stays.
  bool keeps_all() const { return !packs && max_size == 0; }

  /// Pages that the row at this position reads packed: they begin at `start` or later and lie
  /// wholly outside its newest max(window, 1) positions. The page being written is always plain.
  PageRange packed(std::int64_t position) const;
  /// Pages of which neither this row nor a later one reads anything (rotating).
  PageRange hidden(std::int64_t position) const;
  /// The page that this row is the first to read packed, and that is therefore packed in its step;
  /// -1: none. A page is packed again when that row is computed again.
  std::int64_t packs_at(std::int64_t position) const;
  kernels::SeqRow row(std::int64_t position, const std::int32_t* plain,
                      const std::int32_t* packed_pages) const;

  /// Once positions below `computed` are: pages whose plain form no row to come reads. Two ranges.
  PageRange packed_away(std::int64_t computed) const { return packed(computed - 1); }
  PageRange rotated_away(std::int64_t computed) const { return hidden(computed); }

  /// The most pages of each form that a sequence holds at any moment of its first `total`
  /// positions, if a step computes at most `step_rows` of them.
  KvPages need(std::int64_t total, std::int64_t step_rows) const;
  /// Bytes of keys and values that the row at this position reads.
  double read_bytes(const KvShape& shape, std::int64_t position) const;
};

}  // namespace stepless
