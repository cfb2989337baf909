#include "ops/cuda/launch.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "ops/cuda/experts.hpp"
#include "ops/cuda/joined.hpp"
#include "ops/plan_program.hpp"

namespace stepless {
namespace {

bool has_tickets(KernelOp op) {
  return op == KernelOp::qmm || op == KernelOp::qmmn || op == KernelOp::mm || op == KernelOp::attn;
}

void make_room(DeviceRoom& room, const Kernel& kernel, const void* args) {
  if (kernel.device == nullptr || kernel.device->workspace_bytes == nullptr) return;
  std::int64_t& most = has_tickets(kernel.is.op) ? room.tickets : room.scratch;
  most = std::max(most, kernel.device->workspace_bytes(args));
}

void make_room_for_experts(DeviceRoom& room, const Step& step, const Node& node) {
  if (const auto call = experts_call(step, node)) {
    room.tickets = std::max(room.tickets, call->bytes());
    return;
  }
  const auto& op = std::get<ExpertsOp>(node.op);
  for (std::size_t part = 0; part < op.parts.size(); ++part) {
    kernels::MatmulArgs args = expert_args(step, op.parts[part].weight, 0);
    args.m = step.rows;
    make_room(room, *plan_for(*step.program, node, part, step.rows).kernel, &args);
  }
}

void make_room_for_step(DeviceRoom& room, const Step& step) {
  for (const Node& node : step.program->nodes) {
    if (std::holds_alternative<ExpertsOp>(node.op)) {
      make_room_for_experts(room, step, node);
      continue;
    }
    for (std::size_t part = 0; part < node.plans.size(); ++part) {
      const BoundCall call = bind(step, node, part);
      make_room(room, *call.kernel, call.opaque());
    }
    if (const auto all = JoinedLaunches::widest(step, node))
      make_room(room, *all->kernel, all->opaque());
  }
}

}  // namespace

kernels::CudaContext context_of(const DeviceRun& run, const Kernel& kernel) {
  return {run.stream, has_tickets(kernel.is.op) ? run.tickets : run.scratch, run.multiprocessors,
          run.early_start};
}

void launch_kernel(const DeviceRun& run, const Kernel& kernel, const void* args) {
  if (kernel.device == nullptr)
    fail(ErrorCode::unsupported, "{}: this build has no code for it", kernel.name);
  const std::int32_t error = kernel.device->launch(args, context_of(run, kernel));
  check_cuda(static_cast<cudaError_t>(error), kernel.name.data());
}

DeviceRoom room_of(const Program& program) {
  DeviceRoom room;
  room.scratch =
      checked_mul(program.max_sampled, kernels::sample_workspace_bytes(program.vocab), "sampler");
  std::vector<kernels::KvLayer> kv;
  for (const KvLayerShape& layer : program.kv_layers)
    kv.push_back(
        {nullptr, nullptr, program.act, kKvPageTokens, layer.kv_heads, layer.k_dim, layer.v_dim});
  std::vector<kernels::StateLayer> state;
  for (const std::int64_t width : program.state_layers) state.push_back({nullptr, width});
  Step step;
  step.program = &program;
  step.kv = &kv;
  step.state = &state;
  std::vector<Role> roles = {Role::decode};
  if (has_prompt_plans(program)) roles.push_back(Role::prompt);
  for (const std::int64_t bucket : program.buckets) {
    step.rows = std::min(bucket, program.max_rows);
    step.sampled = std::min(bucket, program.max_sampled);
    for (const Role role : roles) {
      step.role = role;
      make_room_for_step(room, step);
    }
  }
  return room;
}

}  // namespace stepless
