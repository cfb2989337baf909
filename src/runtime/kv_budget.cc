#include "runtime/kv_budget.hpp"

#include <algorithm>

#include "base/checked.hpp"

namespace stepless {
namespace {

/// What sequences of one length take, page 0 left out.
class Costs {
 public:
  Costs(const KvShape& kv, const KvLayout& layout, const KvBudget& budget)
      : kv_(kv), layout_(layout), budget_(budget) {}

  KvAllotment of(std::int64_t total) const {
    const bool drafts = budget_.draft_page_bytes > 0;
    return {layout_.need(total, budget_.step_rows),
            drafts ? divide_up(total, layout_.page_tokens) : 0};
  }
  std::int64_t bytes(const KvAllotment& all) const {
    const std::int64_t page = std::max<std::int64_t>(kv_.page_bytes(), 1);
    const std::int64_t plain = checked_mul(all.pages.plain, page, "KV pages");
    const std::int64_t packed = checked_mul(all.pages.packed, kv_.packed_page_bytes(), "KV pages");
    const std::int64_t drafts = checked_mul(all.draft_pages, budget_.draft_page_bytes, "KV pages");
    return checked_add(checked_add(plain, packed, "KV pages"), drafts, "KV pages");
  }
  /// The longest sequence that these bytes hold; nothing when they hold not even one position.
  KvAllotment longest(std::int64_t bytes) const {
    std::int64_t fits = 0, too_long = budget_.context + 1;
    while (too_long - fits > 1) {
      const std::int64_t total = fits + (too_long - fits) / 2;
      (this->bytes(of(total)) <= bytes ? fits : too_long) = total;
    }
    return fits == 0 ? KvAllotment{} : of(fits);
  }

 private:
  const KvShape& kv_;
  const KvLayout& layout_;
  const KvBudget& budget_;
};

/// Splits the bytes as whole sequences would use them; the remainder becomes plain pages.
KvAllotment split(const KvShape& kv, const KvBudget& budget, const Costs& costs,
                  std::int64_t bytes) {
  const KvAllotment each = costs.of(budget.context);
  const std::int64_t each_bytes = costs.bytes(each);
  if (bytes < each_bytes) return costs.longest(bytes);
  const double sequences = static_cast<double>(bytes) / static_cast<double>(each_bytes);
  const auto share = [&](std::int64_t pages) {
    return static_cast<std::int64_t>(sequences * static_cast<double>(pages));
  };
  KvAllotment all;
  all.pages.packed = share(each.pages.packed);
  all.draft_pages = share(each.draft_pages);
  const std::int64_t left = bytes - costs.bytes(all);
  all.pages.plain = left / std::max<std::int64_t>(kv.page_bytes(), 1);
  return all;
}

}  // namespace

KvAllotment pages_within(const KvShape& kv, const KvLayout& layout, const KvBudget& budget) {
  const Costs costs(kv, layout, budget);
  const bool drafts = budget.draft_page_bytes > 0;
  const std::int64_t page_bytes =
      std::max<std::int64_t>(kv.page_bytes() + budget.draft_page_bytes, 1);
  const std::int64_t most = budget.free_bytes / 10 * 9;
  std::int64_t bytes = budget.bytes;
  if (bytes == 0)
    bytes = checked_mul(budget.sequences, costs.bytes(costs.of(budget.context)), "KV pages");
  else if (bytes / page_bytes > most / page_bytes)
    fail(ErrorCode::exhausted, "KV cache: {} bytes asked for; {} are free", budget.bytes,
         budget.free_bytes);
  bytes = std::min(bytes, most);
  KvAllotment all;
  if (layout.keeps_all()) {  // a page, and its twin of the draft model
    all.pages.plain = bytes / page_bytes;
    all.draft_pages = drafts ? all.pages.plain : 0;
  } else {
    all = split(kv, budget, costs, bytes);
  }
  if (all.pages.plain < 1)
    fail(ErrorCode::exhausted, "KV cache: one page of {} positions takes {} bytes{}; {}",
         kv.page_tokens, page_bytes, drafts ? ", the draft model's included" : "",
         budget.bytes > 0 ? "give --kv-cache-bytes more" : "the memory that is free holds less");
  ++all.pages.plain;  // page 0 belongs to nobody
  if (layout.packs) ++all.pages.packed;
  if (drafts) ++all.draft_pages;
  return all;
}

}  // namespace stepless
