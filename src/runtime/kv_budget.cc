#include "runtime/kv_budget.hpp"

#include <algorithm>

#include "base/checked.hpp"

namespace stepless {
namespace {

std::int64_t bytes_of(const KvShape& kv, const KvPages& pages) {
  return checked_add(checked_mul(pages.plain, kv.page_bytes(), "KV pages"),
                     checked_mul(pages.packed, kv.packed_page_bytes(), "KV pages"), "KV pages");
}

/// The pages of the longest sequence that these bytes hold; none when they hold not even one
/// position.
KvPages longest_within(const KvShape& kv, const KvLayout& layout, const KvBudget& budget,
                       std::int64_t bytes) {
  std::int64_t fits = 0, too_long = budget.context + 1;
  while (too_long - fits > 1) {
    const std::int64_t total = fits + (too_long - fits) / 2;
    (bytes_of(kv, layout.need(total, budget.step_rows)) <= bytes ? fits : too_long) = total;
  }
  return fits == 0 ? KvPages{} : layout.need(fits, budget.step_rows);
}

}  // namespace

KvPages pages_within(const KvShape& kv, const KvLayout& layout, const KvBudget& budget) {
  const std::int64_t page_bytes = std::max<std::int64_t>(kv.page_bytes(), 1);
  const std::int64_t most = budget.free_bytes / 10 * 9;
  const KvPages each = layout.need(budget.context, budget.step_rows);
  const std::int64_t each_bytes = std::max(bytes_of(kv, each), page_bytes);
  std::int64_t bytes = checked_mul(budget.sequences, each_bytes, "KV pages");
  if (budget.bytes > 0) {
    bytes = budget.bytes;
    if (bytes > most)
      fail(ErrorCode::exhausted, "KV cache: {} bytes asked for; {} are free", budget.bytes,
           budget.free_bytes);
  }
  bytes = std::min(bytes, most);
  KvPages pages;
  if (!layout.packs) {
    pages.plain = bytes / page_bytes;
  } else if (bytes < each_bytes) {
    pages = longest_within(kv, layout, budget, bytes);
  } else {
    // Whole sequences, and a share of one: packed pages first, the remainder plain.
    const double sequences = static_cast<double>(bytes) / static_cast<double>(each_bytes);
    pages.packed = static_cast<std::int64_t>(sequences * static_cast<double>(each.packed));
    pages.plain = (bytes - pages.packed * kv.packed_page_bytes()) / page_bytes;
  }
  if (pages.plain < 1)
    fail(ErrorCode::exhausted, "KV cache: one page of {} positions takes {} bytes; {}",
         kv.page_tokens, page_bytes,
         budget.bytes > 0 ? "give --kv-cache-bytes more" : "the memory that is free holds less");
  return {pages.plain + 1, layout.packs ? pages.packed + 1 : 0};
}

}  // namespace stepless
