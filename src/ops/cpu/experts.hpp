// A mixture's matrix products on the CPU: rows are sorted by expert, then each expert's rows run as
// one small matmul, so time follows the bytes of the experts touched. Rows keep their bits: an
// order of summation never depends on m.
#pragma once
#include "base/thread_team.hpp"
#include "ops/expert_groups.hpp"
#include "ops/step.hpp"

namespace stepless {

/// Runs a node that holds an ExpertsOp; called by every thread of the team, inside a region.
void run_experts(const Step& step, const Node& node, ExpertGroups& groups, ThreadTeam& team,
                 int thread);

}  // namespace stepless
