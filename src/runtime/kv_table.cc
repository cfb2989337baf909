#include "runtime/kv_table.hpp"

#include <algorithm>
#include <cassert>

#include "base/checked.hpp"

namespace stepless {

void KvTable::Form::open(std::int64_t pages, std::vector<std::int32_t> given) {
  reserved = std::ssize(given);
  if (reserved == pages) {  // every page has one of its own from the start
    ids = std::move(given);
    return;
  }
  ids.assign(static_cast<std::size_t>(pages), 0);
  spare = std::move(given);
  std::reverse(spare.begin(), spare.end());  // the first that was given is used first
}

void KvTable::Form::take(std::int64_t page) {
  std::int32_t& id = ids[static_cast<std::size_t>(page)];
  if (id != 0) return;
  assert(!spare.empty());
  id = spare.back();
  spare.pop_back();
}

void KvTable::Form::drop(std::int64_t page) {
  std::int32_t& id = ids[static_cast<std::size_t>(page)];
  if (id != 0) spare.push_back(id);
  id = 0;
}

void KvTable::Form::shrink(std::int64_t need, KvPool& pool) {
  const std::int64_t more = std::min(reserved - need, std::ssize(spare));
  if (more <= 0) return;
  pool.release(std::span(spare).last(static_cast<std::size_t>(more)));
  spare.resize(spare.size() - static_cast<std::size_t>(more));
  reserved -= more;
}

void KvTable::Form::close(KvPool& pool) {
  pool.release(spare);
  pool.release(ids);  // passes over 0
  ids.clear();
  spare.clear();
  reserved = 0;
}

void KvTable::open(const KvLayout& layout, std::int64_t total, std::vector<std::int32_t> plain,
                   std::vector<std::int32_t> packed) {
  const std::int64_t pages = divide_up(total, layout.page_tokens);
  plain_.open(pages, std::move(plain));
  packed_.open(layout.packs ? pages : 0, std::move(packed));
  packed_away_ = rotated_away_ = 0;
}

void KvTable::make_ready(const KvLayout& layout, std::int64_t first, std::int64_t count) {
  const std::int64_t last = first + count - 1;
  for (std::int64_t page = first / layout.page_tokens; page <= last / layout.page_tokens; ++page)
    plain_.take(page);
  if (!layout.packs) return;
  for (std::int64_t position = first; position <= last; ++position)
    if (const std::int64_t page = layout.packs_at(position); page >= 0) packed_.take(page);
}

void KvTable::retire(const KvLayout& layout, std::int64_t computed) {
  if (layout.keeps_all() || computed == 0) return;
  const PageRange packed = layout.packed_away(computed);
  for (std::int64_t page = std::max(packed.begin, packed_away_); page < packed.end; ++page)
    plain_.drop(page);
  packed_away_ = std::max(packed_away_, packed.end);
  const PageRange rotated = layout.rotated_away(computed);
  for (std::int64_t page = std::max(rotated.begin, rotated_away_); page < rotated.end; ++page) {
    plain_.drop(page);
    if (layout.packs) packed_.drop(page);
  }
  rotated_away_ = std::max(rotated_away_, rotated.end);
}

void KvTable::shrink(const KvPages& need, KvPool& plain, KvPool& packed) {
  plain_.shrink(need.plain, plain);
  packed_.shrink(need.packed, packed);
}

void KvTable::close(KvPool& plain, KvPool& packed) {
  plain_.close(plain);
  packed_.close(packed);
}

}  // namespace stepless
