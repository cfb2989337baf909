// Ids of KV pages: which are free, and how many hold each of the others. The bytes belong to the
// backend; a pool counts one kind of page.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace stepless {

/// Page 0 is never given out: padding rows of a device's graph write there, and in a list of pages
/// it says "none": retain and release pass over it.
class KvPool {
 public:
  explicit KvPool(std::int64_t pages);
  std::int64_t size() const { return size_ - 1; }  // pages that can be given out
  std::int64_t free_pages() const { return static_cast<std::int64_t>(free_.size()); }
  /// Exactly `count` pages, each held once, or none (an empty vector) when fewer are free.
  std::vector<std::int32_t> allocate(std::int64_t count);
  /// One more holder of each page; all of them are held already.
  void retain(std::span<const std::int32_t> pages);
  /// One holder less of each; the last one's leaving frees the page.
  void release(std::span<const std::int32_t> pages);
  /// How many hold a page; 0: it is free.
  std::int32_t holders(std::int32_t page) const { return holders_[static_cast<std::size_t>(page)]; }

 private:
  std::int64_t size_;
  std::vector<std::int32_t> free_;     // a stack: pages used last are warm
  std::vector<std::int32_t> holders_;  // by page
};

}  // namespace stepless
