// What waiting sequences find in the prefix index before a step is planned: pages they may share,
// and pages that are being computed and worth waiting for.
#pragma once
#include <list>

#include "runtime/kv_pool.hpp"
#include "runtime/prefix_index.hpp"
#include "runtime/sequence.hpp"

namespace stepless {

/// Pages that nobody but the index holds.
inline PrefixIndex::Idle idle_in(const KvPool& pool) {
  return [&pool](std::int32_t page) { return pool.holders(page) == 1; };
}

/// Sets `shared`, `computed`, `pages_to_find` and `held_back` of the first `most` waiting
/// sequences; no more can start in one step. The last token of a prompt is always computed: its
/// logits are needed. A sequence is held back while another one that came earlier is about to
/// compute pages that it could share; nothing else that waits is ever waited for, so the chain ends
/// at one that runs.
void find_shared_pages(std::list<Sequence>& sequences, const PrefixIndex& index, const KvPool& pool,
                       std::int64_t most);

/// Free pages that all waiting sequences need together.
std::int64_t wanted_pages(const std::list<Sequence>& sequences);

}  // namespace stepless
