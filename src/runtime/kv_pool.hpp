// Ids of KV pages: which are free. The bytes belong to the backend.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace stepless {

/// Page 0 is never given out: padding rows of a device's graph write there.
class KvPool {
 public:
  explicit KvPool(std::int64_t pages);
  std::int64_t size() const { return size_ - 1; }  // pages that can be given out
  std::int64_t free_pages() const { return static_cast<std::int64_t>(free_.size()); }
  /// Exactly `count` pages, or none (an empty vector) when fewer are free.
  std::vector<std::int32_t> allocate(std::int64_t count);
  void release(std::span<const std::int32_t> pages);

 private:
  std::int64_t size_;
  std::vector<std::int32_t> free_;  // a stack: pages used last are warm
};

}  // namespace stepless
