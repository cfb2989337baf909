// A mixture's matrix products on the CPU: rows are sorted by expert, then each expert's rows run as
// one small matmul, so time follows the bytes of the experts touched. Rows keep their bits: an
// order of summation never depends on m.
#pragma once
#include "base/thread_team.hpp"
#include "ops/cpu/parts.hpp"
#include "ops/expert_groups.hpp"
#include "ops/step.hpp"

namespace stepless {

/// A node that holds an ExpertsOp, region by region.
class ExpertsWalk final : public Regions {
 public:
  explicit ExpertsWalk(const Cutting& cutting) : cutting_(cutting) {}
  /// Room for the program's largest mixture, so that a step allocates nothing.
  void reserve(const Program& program);
  /// Both outlive the walk over the node.
  void begin(const Step& step, const Node& node);
  /// 0: all parts of the node are done.
  std::int64_t open() override;
  void run(std::int64_t index) override;

 private:
  enum class Phase : std::uint8_t { sort, gather, prepare, multiply, scatter };
  const ExpertsOp& op() const;

  Cutting cutting_;
  const Step* step_ = nullptr;
  const Node* node_ = nullptr;
  ExpertGroups groups_;
  Phase phase_ = Phase::sort;
  std::size_t part_ = 0;                  // of the operation
  std::int64_t parts_ = 0, touched_ = 0;  // parts of the region; experts that have rows
};

}  // namespace stepless
