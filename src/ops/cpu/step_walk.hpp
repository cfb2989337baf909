// A step as regions of work: the operations of its Program one after the other, each cut into parts
// that any thread computes. Nothing is allocated between begin() and the end.
#pragma once
#include <array>

#include "base/thread_team.hpp"
#include "ops/cpu/experts.hpp"
#include "ops/cpu/parts.hpp"
#include "ops/step.hpp"

namespace stepless {

class StepWalk final : public Regions {
 public:
  explicit StepWalk(const Cutting& cutting) : cutting_(cutting), experts_(cutting) {}
  /// Once, before the first step.
  void reserve(const Program& program) { experts_.reserve(program); }
  /// `step` outlives the walk.
  void begin(const Step& step);
  std::int64_t open() override;
  void run(std::int64_t index) override;

 private:
  static constexpr std::size_t kMostCalls = 8;
  enum class Phase : std::uint8_t { bind, prepare, units, experts };

  const Node& node() const { return step_->program->nodes[node_]; }
  bool bind_calls();
  std::int64_t open_prepare();
  std::int64_t open_units();

  Cutting cutting_;
  const Step* step_ = nullptr;
  std::int64_t seen_ = 0;  // positions that a row attends to, on average
  Phase phase_ = Phase::bind;
  std::size_t node_ = 0, bound_ = 0;         // parts of the node that were bound so far
  std::array<BoundCall, kMostCalls> calls_;  // of the region; they share prepared x
  std::array<Span, kMostCalls> spans_;
  std::size_t count_ = 0;
  std::int64_t parts_ = 0, work_ = 0;  // of the region
  ExpertsWalk experts_;
};

}  // namespace stepless
