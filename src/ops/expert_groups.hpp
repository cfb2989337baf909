// Rows of a mixture sorted by expert, so that each expert's rows run as one small matmul.
#pragma once
#include <cstdint>
#include <vector>

namespace stepless {

/// Which (row, slot) pairs each expert serves; made once per operation.
class ExpertGroups {
 public:
  /// Room for rows x k pairs, so that a step allocates nothing.
  void reserve(std::int64_t pairs, std::int64_t experts);
  /// A counting sort of ids (rows, k): stable, so an expert's rows stay in order.
  void sort(const std::int32_t* ids, std::int64_t pairs, std::int64_t experts);

  std::int64_t pairs() const { return static_cast<std::int64_t>(pairs_.size()); }
  std::int64_t experts() const { return static_cast<std::int64_t>(first_.size()) - 1; }
  std::int64_t pair(std::int64_t i) const { return pairs_[static_cast<std::size_t>(i)]; }
  std::int64_t first(std::int64_t expert) const { return first_[static_cast<std::size_t>(expert)]; }
  std::int64_t count(std::int64_t expert) const { return first(expert + 1) - first(expert); }

 private:
  std::vector<std::int64_t> pairs_, first_, next_;
};

}  // namespace stepless
