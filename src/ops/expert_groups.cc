#include "ops/expert_groups.hpp"

namespace stepless {

void ExpertGroups::reserve(std::int64_t pairs, std::int64_t experts) {
  pairs_.reserve(static_cast<std::size_t>(pairs));
  first_.reserve(static_cast<std::size_t>(experts + 1));
  next_.reserve(static_cast<std::size_t>(experts + 1));
}

void ExpertGroups::sort(const std::int32_t* ids, std::int64_t pairs, std::int64_t experts) {
  first_.assign(static_cast<std::size_t>(experts + 1), 0);
  for (std::int64_t i = 0; i < pairs; ++i) ++first_[static_cast<std::size_t>(ids[i]) + 1];
  for (std::size_t e = 1; e < first_.size(); ++e) first_[e] += first_[e - 1];
  next_ = first_;
  pairs_.resize(static_cast<std::size_t>(pairs));
  for (std::int64_t i = 0; i < pairs; ++i)
    pairs_[static_cast<std::size_t>(next_[static_cast<std::size_t>(ids[i])]++)] = i;
}

}  // namespace stepless
