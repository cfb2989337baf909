#include "ops/cpu/step_walk.hpp"

#include <algorithm>

#include "base/checked.hpp"

namespace stepless {
namespace {

/// Calls may share prepared x when the same function prepares it in the same way.
bool same_preparation(const BoundCall& a, const BoundCall& b) {
  const auto* x = std::get_if<kernels::MatmulArgs>(&a.args);
  const auto* y = std::get_if<kernels::MatmulArgs>(&b.args);
  return x != nullptr && y != nullptr && a.kernel->entry->prepare == b.kernel->entry->prepare &&
         x->group_size == y->group_size && x->mode == y->mode && x->bits == y->bits;
}

/// Queries of one KV head share what is read of the cache, rows of one sequence do, too: they are
/// kept together where that leaves enough to do for all threads.
std::int64_t attention_multiple(const kernels::AttnArgs& args, int threads) {
  if (threads == 1 || args.rows >= 4 * threads) return args.heads;
  if (args.rows * args.cache.kv_heads >= threads) return args.heads / args.cache.kv_heads;
  return 1;
}

std::int64_t prepare_row_bytes(const BoundCall& call) {
  if (const auto* args = std::get_if<kernels::MatmulArgs>(&call.args)) return args->k * 4;
  if (const auto* args = std::get_if<kernels::DeltaArgs>(&call.args))
    return kernels::delta_prepared_width(args->k_heads, args->k_dim, args->v_heads) * 8;
  return 0;
}

}  // namespace

void StepWalk::begin(const Step& step) {
  step_ = &step;
  std::int64_t positions = 0;
  for (std::int64_t i = 0; i < step.rows; ++i) positions += step.positions[i];
  seen_ = step.rows == 0 ? 0 : positions / step.rows;
  phase_ = Phase::bind;
  node_ = bound_ = count_ = 0;
}

/// The node's next parts that share prepared x; false: there are no more.
bool StepWalk::bind_calls() {
  const std::size_t all = node().plans.size();
  count_ = 0;
  while (count_ < kMostCalls && bound_ < all) {
    calls_[count_] = bind(*step_, node(), bound_);
    if (count_ > 0 && !same_preparation(calls_[0], calls_[count_])) break;
    if (const auto* attn = std::get_if<kernels::AttnArgs>(&calls_[count_].args))
      calls_[count_].unit_multiple = attention_multiple(*attn, cutting_.threads);
    ++count_, ++bound_;
  }
  return count_ > 0;
}

std::int64_t StepWalk::open_prepare() {
  const BoundCall& call = calls_[0];
  if (call.kernel->entry->prepare == nullptr || call.prepare_rows == 0) return 0;
  phase_ = Phase::prepare;
  return parts_ = cutting_.parts(call.prepare_rows * prepare_row_bytes(call), call.prepare_rows);
}

/// 0: the step has no rows for any of the calls.
std::int64_t StepWalk::open_units() {
  std::int64_t pieces = 0;
  work_ = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    spans_[i] = {work_, pieces_of(calls_[i]) * piece_work(calls_[i], seen_), pieces_of(calls_[i])};
    work_ += spans_[i].work;
    pieces += spans_[i].pieces;
  }
  if (pieces == 0) return 0;
  phase_ = Phase::units;
  return parts_ = cutting_.parts(work_, pieces);
}

std::int64_t StepWalk::open() {
  const auto& nodes = step_->program->nodes;
  while (true) {
    if (phase_ == Phase::experts) {
      if (const std::int64_t parts = experts_.open(); parts > 0) return parts;
      ++node_;
    } else if (phase_ == Phase::prepare) {
      if (const std::int64_t parts = open_units(); parts > 0) return parts;
    }
    phase_ = Phase::bind;
    if (node_ == nodes.size()) return 0;
    if (std::holds_alternative<ExpertsOp>(node().op)) {
      experts_.begin(*step_, node());
      phase_ = Phase::experts;
    } else if (!bind_calls()) {
      ++node_, bound_ = 0;
    } else {
      if (const std::int64_t parts = open_prepare(); parts > 0) return parts;
      if (const std::int64_t parts = open_units(); parts > 0) return parts;
    }
  }
}

void StepWalk::run(std::int64_t index) {
  if (phase_ == Phase::experts) return experts_.run(index);
  if (phase_ == Phase::prepare) {
    const BoundCall& call = calls_[0];
    return call.kernel->entry->prepare(call.opaque(),
                                       part_of_units(call.prepare_rows, 1, index, parts_));
  }
  for (std::size_t i = 0; i < count_; ++i) {
    const kernels::Slice pieces = pieces_in(spans_[i], work_, index, parts_);
    if (pieces.begin < pieces.end)
      calls_[i].kernel->entry->run(calls_[i].opaque(), units_of(calls_[i], pieces));
  }
}

}  // namespace stepless
