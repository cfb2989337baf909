// How an EngineCore hands out KV pages (and slots of state): to sequences that start, from the
// prefix index and to it, and from and to prompt cache files.
#include <algorithm>

#include "base/error.hpp"
#include "runtime/admission.hpp"
#include "runtime/engine_core.hpp"
#include "runtime/kv_budget.hpp"

namespace stepless {

/// KV pages of both forms, and those of a draft model beside them.
void EngineCore::allocate_pages(const EngineOptions& options, std::int64_t free_bytes) {
  KvBudget budget;
  budget.context = context_;
  budget.step_rows = room().step_rows;
  budget.sequences = std::max<std::int64_t>(options.sequences, 1);
  budget.bytes = options.kv_bytes;
  budget.free_bytes = free_bytes;
  budget.draft_page_bytes = drafter_ ? drafter_->page_bytes() : 0;
  const KvAllotment all = pages_within(kv_, layout_, budget);
  backend_->allocate_kv(kv_, all.pages);
  if (drafter_) drafter_->allocate(all.draft_pages);
  pool_ = KvPool(all.pages.plain);
  packed_pool_ = KvPool(all.pages.packed);
  stats_.kv_pages = pool_.size();
  stats_.kv_packed_pages = packed_pool_.size();
  stats_.kv_bytes = all.pages.plain * kv_.page_bytes() +
                    all.pages.packed * kv_.packed_page_bytes() +
                    all.draft_pages * budget.draft_page_bytes;
}

KvRoom EngineCore::room() const {
  return {layout_,
          {pool_.size(), packed_pool_.size()},
          std::max<std::int64_t>(prefill_rows_, decode_rows())};
}

std::vector<std::int32_t> EngineCore::take_pages(std::int64_t count) {
  const std::int64_t missing = count - pool_.free_pages();
  if (prefix_ && missing > 0 && missing <= prefix_->evictable(idle_in(pool_)))
    pool_.release(prefix_->evict(missing, idle_in(pool_)));
  return pool_.allocate(count);
}

void EngineCore::admit(const StepPlan& plan) {
  // All that is shared is held before anything is given up for the others.
  for (const std::size_t i : plan.admitted) pool_.retain(order_[i]->shared);
  for (const std::size_t i : plan.admitted) {
    Sequence& s = *order_[i];
    const auto shared = static_cast<std::int64_t>(s.shared.size());
    const std::vector<std::int32_t> fresh = take_pages(s.pages_needed.plain - shared);
    std::vector<std::int32_t> pages = std::move(s.shared);
    pages.insert(pages.end(), fresh.begin(), fresh.end());
    s.pages.open(layout_, s.prompt + s.limit, std::move(pages),
                 packed_pool_.allocate(s.pages_needed.packed));
    s.cached = shared * kv_.page_tokens;
    s.state = StateSlots(slots_.allocate(slots_each_));
    s.phase = Phase::prefill;
    if (prefix_) prefix_->touch(std::span(s.tokens).first(static_cast<std::size_t>(s.cached)));
    stats_.cached_tokens += s.cached;
  }
  const auto raise = [](std::int64_t& peak, const KvPool& pool) {
    peak = std::max(peak, pool.size() - pool.free_pages());
  };
  raise(stats_.kv_pages_peak, pool_);
  raise(stats_.kv_packed_pages_peak, packed_pool_);
}

void EngineCore::remember(const Sequence& s) {
  if (!prefix_) return;
  const std::span<const std::int32_t> computed =
      std::span(s.tokens).first(static_cast<std::size_t>(s.computed));
  pool_.retain(prefix_->insert(computed, s.pages.plain()));
}

void EngineCore::check_reuses(const std::string& path) const {
  if (!prefix_)
    fail(ErrorCode::invalid_argument, "{}: {}", path,
         !state_.layers.empty()
             ? "the model keeps a recurrent state, which prompt caches do not hold"
         : !layout_.keeps_all()
             ? "prompt caches hold the pages of a cache that is neither quantized nor rotating"
             : "this engine was started without prefix reuse, or with a draft model");
}

void EngineCore::load_prompt_cache(const PromptCacheFile& file) {
  check_reuses(file.path());
  if (static_cast<std::int64_t>(file.tokens().size()) >= context_)
    fail(ErrorCode::invalid_argument, "{}: {} tokens leave no room in a context of {}", file.path(),
         file.tokens().size(), context_);
  if (static_cast<std::int64_t>(prefix_->find(file.tokens()).size()) == file.pages()) return;
  const std::vector<std::int32_t> pages = take_pages(file.pages());
  if (static_cast<std::int64_t>(pages.size()) < file.pages())
    fail(ErrorCode::exhausted, "{}: {} KV pages of {} tokens; {} of the cache's {} are free",
         file.path(), file.pages(), kv_.page_tokens, pool_.free_pages(), pool_.size());
  try {
    file.load(*backend_, pages);
  } catch (...) {
    pool_.release(pages);
    throw;
  }
  pool_.retain(prefix_->insert(file.tokens(), pages));
  pool_.release(pages);  // those that were known already are free again
}

void EngineCore::save_prompt_cache(std::span<const std::int32_t> tokens,
                                   const std::string& path) const {
  check_reuses(path);
  const std::vector<std::int32_t> pages = prefix_->find(tokens);
  const auto wanted = static_cast<std::int64_t>(tokens.size()) / kv_.page_tokens;
  if (tokens.empty() || static_cast<std::int64_t>(pages.size()) < wanted)
    fail(ErrorCode::invalid_argument, "{}: {} of {} KV pages of the prompt are computed", path,
         pages.size(), wanted);
  write_prompt_cache(path, *model_, *backend_, tokens, pages);
}

}  // namespace stepless
