#include "ops/cuda/experts.hpp"

#include <algorithm>
#include <functional>

#include "base/checked.hpp"
#include "dispatch/select.hpp"
#include "format/dtype.hpp"
#include "kernels/roll_call.hpp"
#include "ops/joins.hpp"
#include "ops/plan_program.hpp"

namespace stepless {
namespace {

const Matrix& weight_of(const Program& program, const ExpertsOp& op, std::size_t part) {
  return program.matrices[static_cast<std::size_t>(op.parts[part].weight)];
}

/// The cheapest kernel of the planned order that takes pairs as they are; null: there is none. Any
/// kernel of an order gives its bits, so it need not be the one that was planned.
const Kernel* pair_kernel(const Plan& plan) {
  const Candidate* best = nullptr;
  for (const Candidate& each : plan.candidates)
    if (each.legal && each.kernel->fields.order == plan.order && each.kernel->device != nullptr &&
        each.kernel->device->joined.experts != nullptr &&
        (best == nullptr || each.cost_us < best->cost_us))
      best = &each;
  return best != nullptr ? best->kernel : nullptr;
}

/// A row for many pairs wins before its tiles are full: on an H200, 128 experts of 768x2048, it is
/// even at 16 pairs each.
constexpr std::int64_t kRowsOfPairs = 4;

/// The same for a part whose experts have so many pairs each on average.
const Kernel* pair_kernel(const Program& program, const Node& node, std::size_t part,
                          std::int64_t pairs_each) {
  const Kernel* const kernel =
      pair_kernel(plan_for(program, node, part, kRowsOfPairs * pairs_each));
  return kernel != nullptr ? kernel : pair_kernel(*node.plans[part].front());
}

/// Whether one number serves the weights of all experts.
bool has_one_scale(const Matrix& w) {
  return std::ranges::adjacent_find(w.expert_scales, std::ranges::not_equal_to{}) ==
         w.expert_scales.end();
}

/// The same for a node, whose parts must be alike for one launch.
const Kernel* pair_kernel(const Program& program, const Node& node, std::int64_t rows) {
  const auto& op = std::get<ExpertsOp>(node.op);
  if (std::ssize(op.parts) > kernels::kMostTogether) return nullptr;
  const Matrix& first = weight_of(program, op, 0);
  const std::int64_t pairs_each = std::max<std::int64_t>(rows * op.k / first.experts, 1);
  const Kernel* const kernel = pair_kernel(program, node, 0, pairs_each);
  if (!has_one_scale(first)) return nullptr;
  for (std::size_t part = 1; part < op.parts.size(); ++part) {
    const Matrix& w = weight_of(program, op, part);
    if (pair_kernel(program, node, part, pairs_each) != kernel || w.experts != first.experts ||
        !has_one_scale(w) || w.spec.group_size != first.spec.group_size)
      return nullptr;
  }
  return kernel;
}

/// Of mixtures that the host sorts.
std::int64_t most_pairs(const Program& program) {
  std::int64_t most = 0;
  for (const Node& node : program.nodes) {
    const auto* op = std::get_if<ExpertsOp>(&node.op);
    if (op != nullptr && pair_kernel(program, node, 1) == nullptr)
      most = std::max(most, checked_mul(program.max_rows, op->k, "pairs of rows and experts"));
  }
  return most;
}

const Kernel& take_kernel() {
  for (const Kernel& row : roll_call())
    if (row.is.op == KernelOp::take && row.is.isa == Isa::cuda) return row;
  fail(ErrorCode::internal, "the roll call has no `take` for GPUs");
}

/// y[i] = x[index[i]] over `rows` rows of `width` elements.
void take_rows(const DeviceRun& run, const Step& step, const std::uint8_t* x, std::uint8_t* y,
               const std::int32_t* index, std::int64_t rows, std::int64_t width) {
  const kernels::TakeArgs args{x, y, index, rows, width, width, width, step.program->act};
  launch_kernel(run, take_kernel(), &args);
}

}  // namespace

std::int64_t ExpertsCall::bytes() const {
  return kernel->device->joined.experts_bytes(parts.data(), std::ssize(parts), pairs);
}

void ExpertsCall::run(const DeviceRun& run, const kernels::GluArgs* glu) const {
  const std::int32_t error = kernel->device->joined.experts(parts.data(), std::ssize(parts), glu,
                                                            pairs, context_of(run, *kernel));
  check_cuda(static_cast<cudaError_t>(error), kernel->name.data());
}

std::optional<ExpertsCall> experts_call(const Step& step, const Node& node) {
  const auto& op = std::get<ExpertsOp>(node.op);
  const Matrix& first = weight_of(*step.program, op, 0);
  ExpertsCall call;
  call.kernel = pair_kernel(*step.program, node, step.rows);
  if (call.kernel == nullptr) return std::nullopt;
  const auto* ids = reinterpret_cast<const std::int32_t*>(value_bytes(step, op.ids));
  call.pairs = {ids, step.rows * op.k, op.per_slot ? 1 : op.k, first.experts};
  for (const LinearPart& part : op.parts) {
    kernels::MatmulArgs args = expert_args(step, part.weight, 0);
    args.m = call.pairs.pairs;
    args.x = value_bytes(step, op.x), args.x_stride = args.k;
    args.y = value_bytes(step, part.y), args.y_stride = args.n;
    args.x_type = args.y_type = step.program->act;
    call.parts.push_back(args);
  }
  return call;
}

std::int64_t DeviceExperts::bytes(const Program& program) { return most_pairs(program) * 8; }

DeviceExperts::DeviceExperts(const Program& program)
    : pairs_(most_pairs(program)),
      host_(pairs_ * 12, "order of experts"),
      device_(pairs_ * 8, "order of experts") {
  for (const Join join : joins_of(program)) gated_.push_back(join == Join::gate);
}

std::size_t DeviceExperts::run(const DeviceRun& run, const Step& step, std::size_t at) {
  const Node* const node = &step.program->nodes[at];
  const std::optional<ExpertsCall> call = experts_call(step, *node);
  if (!call) {
    run_sorted(run, step, *node);
    return 1;
  }
  if (!gated_[at]) {
    call->run(run, nullptr);
    return 1;
  }
  const BoundCall gate = bind(step, node[1], 0);
  kernels::GluArgs glu = std::get<kernels::GluArgs>(gate.args);
  glu.rows = call->pairs.pairs;  // each pair's outputs are a row here
  glu.width = glu.gate_stride = glu.up_stride = glu.y_stride = call->parts[0].n;
  call->run(run, &glu);
  return nodes_of(Join::gate);
}

void DeviceExperts::sort(const DeviceRun& run, const Step& step, const ExpertsOp& op) {
  const std::int64_t pairs = step.rows * op.k;
  auto* ids = reinterpret_cast<std::int32_t*>(host_.data());
  std::int32_t *order = ids + pairs_, *inverse = order + pairs_;
  check_cuda(cudaMemcpyAsync(ids, value_bytes(step, op.ids), static_cast<std::size_t>(pairs) * 4,
                             cudaMemcpyDeviceToHost, run.stream),
             "experts of a step");
  check_cuda(cudaStreamSynchronize(run.stream), "experts of a step");
  groups_.sort(ids, pairs, weight_of(*step.program, op, 0).experts);
  for (std::int64_t i = 0; i < pairs; ++i) {
    const std::int64_t pair = groups_.pair(i);
    order[i] = static_cast<std::int32_t>(op.per_slot ? pair : pair / op.k);
    inverse[pair] = static_cast<std::int32_t>(i);
  }
  check_cuda(cudaMemcpyAsync(device_.data(), order, static_cast<std::size_t>(pairs_) * 8,
                             cudaMemcpyHostToDevice, run.stream),
             "order of experts");
}

void DeviceExperts::run_sorted(const DeviceRun& run, const Step& step, const Node& node) {
  const auto& op = std::get<ExpertsOp>(node.op);
  sort(run, step, op);
  const auto* order = reinterpret_cast<const std::int32_t*>(device_.data());
  const std::int32_t* inverse = order + pairs_;
  const std::int64_t pairs = groups_.pairs(), element = size_of(step.program->act);
  std::uint8_t *gathered = value_bytes(step, op.gathered),
               *scattered = value_bytes(step, op.scattered);
  take_rows(run, step, value_bytes(step, op.x), gathered, order, pairs,
            weight_of(*step.program, op, 0).k);
  for (std::size_t part = 0; part < op.parts.size(); ++part) {
    const Matrix& w = weight_of(*step.program, op, part);
    for (std::int64_t e = 0; e < groups_.experts(); ++e) {
      if (groups_.count(e) == 0) continue;
      kernels::MatmulArgs args = expert_args(step, op.parts[part].weight, e);
      args.m = groups_.count(e);
      args.x = gathered + groups_.first(e) * w.k * element;
      args.x_stride = w.k;
      args.y = scattered + groups_.first(e) * w.n * element;
      args.y_stride = w.n;
      args.x_type = args.y_type = step.program->act;
      launch_kernel(run, *plan_for(*step.program, node, part, args.m).kernel, &args);
    }
    take_rows(run, step, scattered, value_bytes(step, op.parts[part].y), inverse, pairs, w.n);
  }
}

}  // namespace stepless
