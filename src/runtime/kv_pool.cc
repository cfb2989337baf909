#include "runtime/kv_pool.hpp"

#include <algorithm>
#include <cassert>

namespace stepless {

KvPool::KvPool(std::int64_t pages)
    : size_(std::max<std::int64_t>(pages, 1)), holders_(static_cast<std::size_t>(size_)) {
  for (std::int64_t id = size_ - 1; id >= 1; --id) free_.push_back(static_cast<std::int32_t>(id));
}

std::vector<std::int32_t> KvPool::allocate(std::int64_t count) {
  if (count > free_pages()) return {};
  std::vector<std::int32_t> pages(free_.end() - count, free_.end());
  std::reverse(pages.begin(), pages.end());
  free_.resize(free_.size() - static_cast<std::size_t>(count));
  for (const std::int32_t page : pages) holders_[static_cast<std::size_t>(page)] = 1;
  return pages;
}

void KvPool::retain(std::span<const std::int32_t> pages) {
  for (const std::int32_t page : pages) {
    if (page == 0) continue;
    assert(page > 0 && page < size_ && holders(page) > 0);
    ++holders_[static_cast<std::size_t>(page)];
  }
}

void KvPool::release(std::span<const std::int32_t> pages) {
  for (auto page = pages.rbegin(); page != pages.rend(); ++page) {
    if (*page == 0) continue;
    assert(*page > 0 && *page < size_ && holders(*page) > 0);
    if (--holders_[static_cast<std::size_t>(*page)] == 0) free_.push_back(*page);
  }
}

}  // namespace stepless
