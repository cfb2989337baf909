#include "ops/cpu/experts.hpp"

#include <algorithm>
#include <cstring>

#include "base/checked.hpp"
#include "dispatch/select.hpp"
#include "format/dtype.hpp"
#include "ops/cpu/parts.hpp"
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

  bool prepares() const {
    for (std::int64_t e = 0; e < groups.experts(); ++e)
      if (groups.count(e) > 0 && kernel(groups.count(e)).entry->prepare != nullptr) return true;
    return false;
  }

  /// Rows of x, counted over all experts.
  void prepare(kernels::Slice rows) const {
    for (std::int64_t e = 0; e < groups.experts(); ++e) {
      const std::int64_t first = groups.first(e), end = first + groups.count(e);
      const kernels::Slice own = {std::max(rows.begin, first) - first,
                                  std::min(rows.end, end) - first};
      if (own.begin >= own.end) continue;
      const auto prepare = kernel(groups.count(e)).entry->prepare;
      if (prepare == nullptr) continue;
      const kernels::MatmulArgs a = args(e);
      prepare(&a, own);
    }
  }

  /// What `experts` with `rows` rows in all take: below a few it is the reading of their weights.
  static std::int64_t work(std::int64_t rows, std::int64_t experts) { return rows + 3 * experts; }

  /// Part `index` of `parts`: experts stand one after the other, each cut into tiles of its kernel.
  void multiply(std::int64_t index, std::int64_t parts, std::int64_t touched) const {
    const std::int64_t scale = weight().n, total = work(groups.pairs(), touched) * scale;
    std::int64_t at = 0;
    for (std::int64_t e = 0; e < groups.experts(); ++e) {
      const std::int64_t rows = groups.count(e);
      if (rows == 0) continue;
      const Kernel& row = kernel(rows);
      const std::int64_t tile = row.is.tile_n;
      const Span span = {at, work(rows, 1) * scale, divide_up(weight().n, tile)};
      at += span.work;
      const kernels::Slice tiles = pieces_in(span, total, index, parts);
      if (tiles.begin >= tiles.end) continue;
      const kernels::MatmulArgs a = args(e);
      row.entry->run(&a, {tiles.begin * tile, std::min(tiles.end * tile, weight().n)});
    }
  }
};

/// Copies rows of `width` elements between the order of pairs and the order of experts.
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

const ExpertsOp& ExpertsWalk::op() const { return std::get<ExpertsOp>(node_->op); }

void ExpertsWalk::reserve(const Program& program) {
  for (const Node& node : program.nodes)
    if (const auto* op = std::get_if<ExpertsOp>(&node.op))
      groups_.reserve(program.max_rows * op->k,
                      program.matrices[static_cast<std::size_t>(op->parts[0].weight)].experts);
}

void ExpertsWalk::begin(const Step& step, const Node& node) {
  step_ = &step, node_ = &node;
  phase_ = Phase::sort;
  part_ = 0;
}

std::int64_t ExpertsWalk::open() {
  const Matrix& first = step_->program->matrices[static_cast<std::size_t>(op().parts[0].weight)];
  const std::int64_t row_bytes = first.k * size_of(step_->program->act);
  if (phase_ == Phase::sort) {
    groups_.sort(reinterpret_cast<const std::int32_t*>(value_bytes(*step_, op().ids)),
                 step_->rows * op().k, first.experts);
    touched_ = 0;
    for (std::int64_t e = 0; e < groups_.experts(); ++e) touched_ += groups_.count(e) > 0;
    if (groups_.pairs() == 0) return 0;
    phase_ = Phase::gather;
    return parts_ = cutting_.parts(groups_.pairs() * row_bytes * 2, groups_.pairs());
  }
  if (phase_ == Phase::scatter && ++part_ == op().parts.size()) return 0;
  const PartRun run{*step_, *node_, op(), part_, groups_};
  if (phase_ == Phase::gather || phase_ == Phase::scatter) {
    phase_ = Phase::prepare;
    if (run.prepares())
      return parts_ = cutting_.parts(groups_.pairs() * row_bytes * 2, groups_.pairs());
  }
  if (phase_ == Phase::prepare) {
    phase_ = Phase::multiply;
    const Matrix& w = run.weight();
    const std::int64_t w_row_bytes = expert_args(*step_, op().parts[part_].weight, 0).w_row_bytes;
    const std::int64_t work = PartRun::work(groups_.pairs(), touched_) * w_row_bytes * w.n / 4;
    return parts_ = cutting_.parts(work, w.n * touched_);
  }
  phase_ = Phase::scatter;
  return parts_ = cutting_.parts(
             groups_.pairs() * run.weight().n * size_of(step_->program->act) * 2, groups_.pairs());
}

void ExpertsWalk::run(std::int64_t index) {
  const PartRun run{*step_, *node_, op(), part_, groups_};
  const kernels::Slice pairs = part_of_units(groups_.pairs(), 1, index, parts_);
  switch (phase_) {
    case Phase::sort:
      return;
    case Phase::gather:
      return gather(*step_, op(), groups_, run.weight().k, pairs);
    case Phase::prepare:
      return run.prepare(pairs);
    case Phase::multiply:
      return run.multiply(index, parts_, touched_);
    case Phase::scatter:
      return scatter(*step_, op(), groups_, op().parts[part_].y, run.weight().n, pairs);
  }
}

}  // namespace stepless
