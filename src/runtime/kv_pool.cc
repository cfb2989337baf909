#include "runtime/kv_pool.hpp"

#include <algorithm>
#include <cassert>

namespace stepless {

KvPool::KvPool(std::int64_t pages) : size_(std::max<std::int64_t>(pages, 1)) {
  for (std::int64_t id = size_ - 1; id >= 1; --id) free_.push_back(static_cast<std::int32_t>(id));
}

std::vector<std::int32_t> KvPool::allocate(std::int64_t count) {
  if (count > free_pages()) return {};
  std::vector<std::int32_t> pages(free_.end() - count, free_.end());
  std::reverse(pages.begin(), pages.end());
  free_.resize(free_.size() - static_cast<std::size_t>(count));
  return pages;
}

void KvPool::release(std::span<const std::int32_t> pages) {
  for (auto page = pages.rbegin(); page != pages.rend(); ++page) {
    assert(*page > 0 && *page < size_);
    free_.push_back(*page);
  }
}

}  // namespace stepless
