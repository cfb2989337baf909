// The pages of one sequence: the tables its rows read, and the reserved pages not in use. What was
// reserved is enough until the end, so a sequence that runs waits for no other.
#pragma once
#include <vector>

#include "runtime/kv_layout.hpp"
#include "runtime/kv_pool.hpp"

namespace stepless {

class KvTable {
 public:
  /// Tables for `total` positions. `plain` and `packed` are reserved: at least what
  /// layout.need(total, rows) says for the largest step.
  void open(const KvLayout& layout, std::int64_t total, std::vector<std::int32_t> plain,
            std::vector<std::int32_t> packed);
  /// Gives the pages of positions [first, first + count) and of what their rows pack a place.
  void make_ready(const KvLayout& layout, std::int64_t first, std::int64_t count);
  /// Positions below `computed` are final: pages that no row to come reads are spare again.
  void retire(const KvLayout& layout, std::int64_t computed);
  /// Gives back spare pages beyond `need`.
  void shrink(const KvPages& need, KvPool& plain, KvPool& packed);
  /// Gives everything back.
  void close(KvPool& plain, KvPool& packed);

  kernels::SeqRow row(const KvLayout& layout, std::int64_t position) const {
    return layout.row(position, plain_.ids.data(), packed_.ids.data());
  }
  /// Pages reserved, in use or spare.
  KvPages reserved() const { return {plain_.reserved, packed_.reserved}; }
  const std::vector<std::int32_t>& plain() const { return plain_.ids; }
  const std::vector<std::int32_t>& packed() const { return packed_.ids; }

 private:
  struct Form {
    std::vector<std::int32_t> ids;  // by page index; 0: none
    std::vector<std::int32_t> spare;
    std::int64_t reserved = 0;
    void open(std::int64_t pages, std::vector<std::int32_t> given);
    void take(std::int64_t page);
    void drop(std::int64_t page);
    void shrink(std::int64_t need, KvPool& pool);
    void close(KvPool& pool);
  };
  Form plain_, packed_;
  std::int64_t packed_away_ = 0, rotated_away_ = 0;  // pages up to these are retired
};

}  // namespace stepless
