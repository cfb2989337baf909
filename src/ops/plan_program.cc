#include "ops/plan_program.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include "dispatch/row_buckets.hpp"
#include "kernels/roll_call.hpp"

namespace stepless {
namespace {

using Key = std::tuple<KernelOp, Mode, int, int, bool, DType, DType, DType, std::int64_t,
                       std::int64_t, std::int64_t, std::int64_t, Role>;

Key key_of(const Problem& p) {
  return {p.op,     p.quant.mode, p.quant.bits, p.quant.group_size,
          p.packed, p.x_type,     p.w_type,     p.y_type,
          p.m,      p.n,          p.k,          p.head,
          p.role};
}

std::size_t parts_of(const Node& node) {
  if (const auto* linear = std::get_if<LinearOp>(&node.op)) return linear->parts.size();
  if (const auto* experts = std::get_if<ExpertsOp>(&node.op)) return experts->parts.size();
  return 1;
}

/// Plans of equal problems, made once.
class Planner {
 public:
  Planner(const Machine& machine, const Overrides& overrides)
      : machine_(machine), overrides_(overrides) {}
  PlanPtr plan(const Problem& problem) {
    // A wish for one kernel concerns the matmuls that it could run, not every operation of the
    // model.
    Overrides wishes = overrides_;
    if (const Kernel* wish = find_kernel(overrides_.kernel))
      if (wish->is.op != problem.op) wishes.kernel.clear();
    PlanPtr& plan = known_[key_of(problem)];
    if (plan == nullptr) plan = std::make_shared<Plan>(select(problem, machine_, wishes));
    return plan;
  }

 private:
  const Machine& machine_;
  const Overrides& overrides_;
  std::map<Key, PlanPtr> known_;
};

/// Prompt rows may have an order of their own in products and attention, unless a recurrent state
/// passes from row to row within a step.
void plan_prompts(Program& program, Node& node, Planner& planner) {
  node.prompt_plans.clear();
  const bool may =
      std::holds_alternative<LinearOp>(node.op) || std::holds_alternative<AttnOp>(node.op);
  if (!may || !program.state_layers.empty()) return;
  bool other = false;
  for (std::size_t part = 0; part < node.plans.size(); ++part) {
    std::vector<PlanPtr>& plans = node.prompt_plans.emplace_back();
    for (const std::int64_t m : program.buckets)
      plans.push_back(planner.plan(problem_of(program, node, part, m, Role::prompt)));
    other = other || plans.front()->order != node.plans[part].front()->order;
  }
  if (!other) node.prompt_plans.clear();
}

}  // namespace

void plan_program(Program& program, const Machine& machine, const Overrides& overrides) {
  program.buckets.clear();
  for (std::int64_t m = 1; m <= program.max_rows; m = program.buckets.back() + 1)
    program.buckets.push_back(bucket_of(m));
  Planner planner(machine, overrides);
  for (Node& node : program.nodes) {
    // Only linear operations have kernels that depend on m; the others are planned at the largest
    // bucket.
    const bool by_rows =
        std::holds_alternative<LinearOp>(node.op) || std::holds_alternative<ExpertsOp>(node.op);
    node.plans.assign(parts_of(node), {});
    for (std::size_t part = 0; part < node.plans.size(); ++part)
      for (const std::int64_t m : program.buckets)
        if (by_rows || m == program.buckets.back())
          node.plans[part].push_back(planner.plan(problem_of(program, node, part, m)));
    plan_prompts(program, node, planner);
  }
}

const Plan& plan_for(const Program& program, const Node& node, std::size_t part, std::int64_t m,
                     Role role) {
  const bool prompt = role == Role::prompt && !node.prompt_plans.empty();
  const std::vector<PlanPtr>& plans = prompt ? node.prompt_plans[part] : node.plans[part];
  const auto at = std::lower_bound(program.buckets.begin(), program.buckets.end(), m);
  const auto index = static_cast<std::size_t>(at - program.buckets.begin());
  return *plans[std::min(index, plans.size() - 1)];
}

bool has_prompt_plans(const Program& program) {
  return std::ranges::any_of(program.nodes,
                             [](const Node& node) { return !node.prompt_plans.empty(); });
}

std::int64_t workspace_bytes(const Program& program) {
  std::int64_t most = 0;
  for (const Node& node : program.nodes) {
    std::int64_t times = 1, more = 0;
    if (const auto* experts = std::get_if<ExpertsOp>(&node.op)) {
      // Every expert's rows are prepared in a place of their own: k rows for each of the step's,
      // and alignment.
      times = experts->k;
      more = 64 * program.matrices[static_cast<std::size_t>(experts->parts[0].weight)].experts;
    }
    for (const auto& plans : node.plans)
      for (const PlanPtr& plan : plans) most = std::max(most, plan->workspace_bytes * times + more);
  }
  return most;
}

}  // namespace stepless
