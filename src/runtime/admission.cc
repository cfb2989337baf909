#include "runtime/admission.hpp"

#include <algorithm>

namespace stepless {
namespace {

/// Tokens that a sequence need not compute itself: all but the last of its prompt, by whole pages.
std::int64_t shareable(std::int64_t tokens, const Sequence& s, std::int64_t page_tokens) {
  return std::min(tokens, s.prompt - 1) / page_tokens * page_tokens;
}

/// Whether `leader` will compute more of what `s` begins with than is known now.
bool computes_for(const Sequence& leader, const Sequence& s, std::int64_t page_tokens) {
  if (shareable(leader.prompt, s, page_tokens) <= s.computed) return false;
  const auto differ = std::ranges::mismatch(leader.tokens, s.tokens).in1;
  const std::int64_t wanted = shareable(differ - leader.tokens.begin(), s, page_tokens);
  return wanted > s.computed && wanted > leader.computed;
}

}  // namespace

void find_shared_pages(std::list<Sequence>& sequences, const PrefixIndex& index, const KvPool& pool,
                       std::int64_t most) {
  const std::int64_t page_tokens = index.page_tokens();
  std::vector<const Sequence*> leaders;
  for (Sequence& s : sequences) {
    if (s.phase == Phase::prefill) leaders.push_back(&s);
    if (s.phase != Phase::waiting) continue;
    if (most-- == 0) break;
    const std::int64_t known = shareable(s.prompt, s, page_tokens);
    s.shared = index.find(std::span(s.tokens).first(static_cast<std::size_t>(known)));
    s.computed = static_cast<std::int64_t>(s.shared.size()) * page_tokens;
    // A page that only the index holds is one of those that could be given up for free ones.
    const std::int64_t idle = std::ranges::count_if(s.shared, idle_in(pool));
    s.pages_to_find = s.pages_needed.plain - static_cast<std::int64_t>(s.shared.size()) + idle;
    s.held_back = std::ranges::any_of(
        leaders, [&](const Sequence* leader) { return computes_for(*leader, s, page_tokens); });
    if (!s.held_back) leaders.push_back(&s);
  }
}

std::int64_t wanted_pages(const std::list<Sequence>& sequences) {
  std::int64_t pages = 0;
  for (const Sequence& s : sequences)
    if (s.phase == Phase::waiting) pages += s.pages_to_find;
  return pages;
}

}  // namespace stepless
