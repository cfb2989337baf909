// A mixture's matrix products on the CPU: rows are sorted by expert, then each expert's rows run as
// one small matmul, so time follows the bytes of the experts touched. Rows keep their bits: an
// order of summation never depends on m.
#pragma once
#include <vector>

#include "base/thread_team.hpp"
#include "ops/cpu/step.hpp"

namespace stepless {

/// Which (row, slot) pairs each expert serves; made by thread 0, read by all after the barrier.
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

/// Runs a node that holds an ExpertsOp; called by every thread of the team, inside a region.
void run_experts(const CpuStep& step, const Node& node, ExpertGroups& groups, ThreadTeam& team,
                 int thread);

}  // namespace stepless
