// How many KV pages of each form an engine allocates.
#pragma once
#include "runtime/kv_layout.hpp"

namespace stepless {

struct KvBudget {
  std::int64_t context = 1, step_rows = 1, sequences = 1;
  std::int64_t bytes = 0;  // asked for; 0: what the sequences need
  std::int64_t free_bytes = 0;
  std::int64_t draft_page_bytes = 0;  // of the draft model's cache, which keeps every page; 0: none
};

struct KvAllotment {
  KvPages pages;
  std::int64_t draft_pages = 0;
};

/// Pages for the sequences expected, or what the bytes hold; at most 90 % of what is free. Page 0
/// of each form is counted: it belongs to nobody. Bytes are split as one sequence of the whole
/// context would use them, or the longest that fits. Throws Error (exhausted).
KvAllotment pages_within(const KvShape& kv, const KvLayout& layout, const KvBudget& budget);

}  // namespace stepless
