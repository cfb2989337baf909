#include "ops/cpu/experts.hpp"

#include <cstring>

#include "base/checked.hpp"
#include "dispatch/select.hpp"
#include "format/dtype.hpp"
#include "ops/plan_program.hpp"

namespace stepless {

namespace {

/// One part of the operation: what all of its experts' matmuls have in common.
struct PartRun {
  const Step& step;
  const Node& node;
  const ExpertsOp& op;
  std::size_t part;
  const ExpertGroups& groups;

  const Matrix& weight() const {
    return step.program->matrices[static_cast<std::size_t>(op.parts[part].weight)];
  }

  const Kernel& kernel(std::int64_t rows) const {
    return *plan_for(*step.program, node, part, rows).kernel;
  }

  kernels::MatmulArgs args(std::int64_t expert) const {
    const Matrix& w = weight();
    kernels::MatmulArgs a = expert_args(step, op.parts[part].weight, expert);
    const std::int64_t first = groups.first(expert), element = size_of(step.program->act);
    a.m = groups.count(expert);
    a.x = value_bytes(step, op.gathered) + first * w.k * element;
    a.x_stride = w.k;
    a.y = value_bytes(step, op.scattered) + first * w.n * element;
    a.y_stride = w.n;
    a.x_type = a.y_type = step.program->act;
    Problem one = problem_of(*step.program, node, part, 1);
    const std::int64_t row_bytes = workspace_bytes(kernel(a.m), one);
    a.workspace = step.workspace + round_up(first * row_bytes, 64) + 64 * expert;
    return a;
  }

  void prepare(int thread, int threads) const {
    for (std::int64_t e = 0; e < groups.experts(); ++e) {
      if (groups.count(e) == 0) continue;
      const auto prepare = kernel(groups.count(e)).entry->prepare;
      const kernels::Slice rows = part_of_units(groups.count(e), 1, thread, threads);
      if (prepare == nullptr || rows.begin == rows.end) continue;
      const kernels::MatmulArgs a = args(e);
      prepare(&a, rows);
    }
  }

  void multiply(int thread, int threads) const {
    for (std::int64_t e = 0; e < groups.experts(); ++e) {
      if (groups.count(e) == 0) continue;
      const Kernel& row = kernel(groups.count(e));
      const kernels::Slice outputs = part_of_units(weight().n, row.is.tile_n, thread, threads);
      if (outputs.begin == outputs.end) continue;
      const kernels::MatmulArgs a = args(e);
      row.entry->run(&a, outputs);
    }
  }
};

/// Copies rows of `width` elements between the order of pairs and the order of experts; a thread
/// takes its share.
void gather(const Step& step, const ExpertsOp& op, const ExpertGroups& groups, std::int64_t width,
            kernels::Slice share) {
  const std::int64_t bytes = width * size_of(step.program->act);
  const std::uint8_t* x = value_bytes(step, op.x);
  std::uint8_t* to = value_bytes(step, op.gathered);
  for (std::int64_t i = share.begin; i < share.end; ++i) {
    const std::int64_t from = op.per_slot ? groups.pair(i) : groups.pair(i) / op.k;
    std::memcpy(to + i * bytes, x + from * bytes, static_cast<std::size_t>(bytes));
  }
}

void scatter(const Step& step, const ExpertsOp& op, const ExpertGroups& groups, ValueId y,
             std::int64_t width, kernels::Slice share) {
  const std::int64_t bytes = width * size_of(step.program->act);
  const std::uint8_t* from = value_bytes(step, op.scattered);
  for (std::int64_t i = share.begin; i < share.end; ++i)
    std::memcpy(value_bytes(step, y) + groups.pair(i) * bytes, from + i * bytes,
                static_cast<std::size_t>(bytes));
}

}  // namespace

void run_experts(const Step& step, const Node& node, ExpertGroups& groups, ThreadTeam& team,
                 int thread) {
  const auto& op = std::get<ExpertsOp>(node.op);
  const Matrix& first = step.program->matrices[static_cast<std::size_t>(op.parts[0].weight)];
  const int threads = team.size();
  if (thread == 0)
    groups.sort(reinterpret_cast<const std::int32_t*>(value_bytes(step, op.ids)), step.rows * op.k,
                first.experts);
  team.barrier().wait();
  const kernels::Slice share = part_of_units(groups.pairs(), 1, thread, threads);
  gather(step, op, groups, first.k, share);
  team.barrier().wait();
  for (std::size_t part = 0; part < op.parts.size(); ++part) {
    const PartRun run{step, node, op, part, groups};
    run.prepare(thread, threads);
    team.barrier().wait();
    run.multiply(thread, threads);
    team.barrier().wait();
    scatter(step, op, groups, op.parts[part].y, run.weight().n, share);
    team.barrier().wait();
  }
}

}  // namespace stepless
