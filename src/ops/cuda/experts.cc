#include "ops/cuda/experts.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "dispatch/select.hpp"
#include "format/dtype.hpp"
#include "kernels/roll_call.hpp"
#include "ops/plan_program.hpp"

namespace stepless {
namespace {

std::int64_t most_pairs(const Program& program) {
  std::int64_t most = 0;
  for (const Node& node : program.nodes)
    if (const auto* op = std::get_if<ExpertsOp>(&node.op))
      most = std::max(most, checked_mul(program.max_rows, op->k, "pairs of rows and experts"));
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

std::int64_t DeviceExperts::bytes(const Program& program) { return most_pairs(program) * 8; }

DeviceExperts::DeviceExperts(const Program& program)
    : pairs_(most_pairs(program)),
      host_(pairs_ * 12, "order of experts"),
      device_(pairs_ * 8, "order of experts") {}

void DeviceExperts::sort(const DeviceRun& run, const Step& step, const ExpertsOp& op) {
  const std::int64_t pairs = step.rows * op.k;
  auto* ids = reinterpret_cast<std::int32_t*>(host_.data());
  std::int32_t *order = ids + pairs_, *inverse = order + pairs_;
  check_cuda(cudaMemcpyAsync(ids, value_bytes(step, op.ids), static_cast<std::size_t>(pairs) * 4,
                             cudaMemcpyDeviceToHost, run.stream),
             "experts of a step");
  check_cuda(cudaStreamSynchronize(run.stream), "experts of a step");
  const Matrix& first = step.program->matrices[static_cast<std::size_t>(op.parts[0].weight)];
  groups_.sort(ids, pairs, first.experts);
  for (std::int64_t i = 0; i < pairs; ++i) {
    const std::int64_t pair = groups_.pair(i);
    order[i] = static_cast<std::int32_t>(op.per_slot ? pair : pair / op.k);
    inverse[pair] = static_cast<std::int32_t>(i);
  }
  check_cuda(cudaMemcpyAsync(device_.data(), order, static_cast<std::size_t>(pairs_) * 8,
                             cudaMemcpyHostToDevice, run.stream),
             "order of experts");
}

void DeviceExperts::run(const DeviceRun& run, const Step& step, const Node& node) {
  const auto& op = std::get<ExpertsOp>(node.op);
  sort(run, step, op);
  const auto* order = reinterpret_cast<const std::int32_t*>(device_.data());
  const std::int32_t* inverse = order + pairs_;
  const std::int64_t pairs = groups_.pairs(), element = size_of(step.program->act);
  const auto weight_of = [&](std::size_t part) -> const Matrix& {
    return step.program->matrices[static_cast<std::size_t>(op.parts[part].weight)];
  };
  std::uint8_t *gathered = value_bytes(step, op.gathered),
               *scattered = value_bytes(step, op.scattered);
  take_rows(run, step, value_bytes(step, op.x), gathered, order, pairs, weight_of(0).k);
  for (std::size_t part = 0; part < op.parts.size(); ++part) {
    const Matrix& w = weight_of(part);
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
