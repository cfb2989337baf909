#include "dispatch/select.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "dispatch/cost.hpp"
#include "dispatch/explain.hpp"
#include "dispatch/order.hpp"
#include "kernels/roll_call.hpp"

namespace stepless {
namespace {

enum class Family : std::uint8_t { x86, arm, gpu };

/// Isa's branches ascend within a family; `cpu` belongs to every CPU.
Family family_of(Isa isa) {
  if (isa >= Isa::cuda) return Family::gpu;
  return isa >= Isa::neon ? Family::arm : Family::x86;
}

/// The machine as if it ended at `limit`.
Machine limited_to(const Machine& machine, Isa limit) {
  Machine limited = machine;
  limited.name = fmt::format("{} up to {}", machine.name, to_string(limit));
  std::erase_if(limited.isas, [&](Isa isa) {
    return isa != Isa::cpu &&
           (limit == Isa::cpu || family_of(isa) != family_of(limit) || isa > limit);
  });
  return limited;
}

/// The cheapest legal candidate of the order, the earlier of equals; a pin of prefer.inc goes
/// first.
const Kernel* cheapest(const std::vector<Candidate>& candidates, Order order, const Problem& p,
                       const Machine& machine) {
  const Kernel* best = nullptr;
  double best_us = 0;
  for (const Candidate& candidate : candidates) {
    if (!candidate.legal || candidate.kernel->fields.order != order) continue;
    if (!pin_of(*candidate.kernel, p, machine).empty()) return candidate.kernel;
    if (best == nullptr || candidate.cost_us < best_us)
      best = candidate.kernel, best_us = candidate.cost_us;
  }
  return best;
}

bool computes_in_int8(const Kernel& kernel) { return kernel.fields.order == Order::int8_groups; }

/// Less exact rows need to be asked for, even by whoever names one.
std::string why_not_wished(const Kernel& kernel, const Problem& p, const Machine& machine,
                           const Overrides& overrides) {
  std::string reason = why_not(kernel, p, machine);
  if (reason.empty() && computes_in_int8(kernel) && !overrides.fast_int8)
    reason = "8-bit activations need --fast-int8";
  return reason;
}

const Kernel* wished_kernel(const Problem& p, const Machine& machine, const Overrides& overrides) {
  const std::string& name = overrides.kernel;
  const Kernel* kernel = find_kernel(name);
  if (const std::string reason = why_not_wished(*kernel, p, machine, overrides); !reason.empty())
    fail(ErrorCode::invalid_argument, "kernel: {} cannot run {}: {}", name, problem_text(p),
         reason);
  return kernel;
}

void say_why(Plan& plan, const Problem& p, const Machine& machine, bool asked) {
  for (Candidate& candidate : plan.candidates) {
    if (!candidate.legal) continue;
    const Order order = candidate.kernel->fields.order;
    if (candidate.kernel == plan.kernel) {
      const std::string_view pin = pin_of(*candidate.kernel, p, machine);
      candidate.why = pin.empty() ? "chosen" : fmt::format("chosen: pinned, {}", pin);
      if (asked) candidate.why = "chosen: asked for";
      if (!plan.warning.empty()) candidate.why += "; " + plan.warning;
    } else if (order != plan.order) {
      candidate.why = fmt::format("another order: {}", to_string(order));
    } else if (candidate.cost_us == plan.cost_us) {
      candidate.why = "equal cost: the earlier row wins";
    } else {
      candidate.why =
          fmt::format("slower: {:.2f} times the chosen", candidate.cost_us / plan.cost_us);
    }
  }
}

}  // namespace

std::int64_t workspace_bytes(const Kernel& kernel, const Problem& p) {
  if (p.op == KernelOp::dot)  // f64 pairs, one per block: DotArgs
    return checked_mul(divide_up(p.k, kernels::kDotBlock), 2 * std::int64_t{sizeof(double)}, "dot");
  const WorkspaceRule rule = kernel.fields.workspace;
  if (rule.per_k == 0 && rule.per_32k == 0) return 0;
  const std::int64_t k = round_up(p.k, 128);
  const std::int64_t row = checked_add(checked_mul(rule.per_k, k, "workspace"),
                                       checked_mul(rule.per_32k, k / 32, "workspace"), "workspace");
  return checked_mul(p.m, row, "workspace");
}

void check_overrides(const Overrides& overrides, const Machine& machine) {
  if (!overrides.kernel.empty() && find_kernel(overrides.kernel) == nullptr)
    fail(ErrorCode::invalid_argument,
         "kernel: \"{}\" is not in the roll call; docs/kernels.md lists every name",
         overrides.kernel);
  if (overrides.max_isa && !machine.has(*overrides.max_isa)) {
    std::string isas;
    for (const Isa isa : machine.isas)
      isas += (isas.empty() ? "" : ", ") + std::string(to_string(isa));
    fail(ErrorCode::invalid_argument, "max-isa: {} is not on {}; it has {}",
         to_string(*overrides.max_isa), machine.name, isas);
  }
  const Machine limited = overrides.max_isa ? limited_to(machine, *overrides.max_isa) : machine;
  if (overrides.fast_int8 && std::ranges::none_of(roll_call(), [&](const Kernel& kernel) {
        return computes_in_int8(kernel) && limited.has(kernel.is.isa);
      }))
    fail(ErrorCode::invalid_argument,
         "fast-int8: no kernel computes with 8-bit activations on {}; leave it off", limited.name);
}

Plan select(const Problem& p, const Machine& whole, const Overrides& overrides) {
  check_overrides(overrides, whole);
  const Machine machine = overrides.max_isa ? limited_to(whole, *overrides.max_isa) : whole;
  Plan plan;
  plan.order = choose_order(p, machine, overrides.fast_int8 ? Precision::int8 : Precision::exact);
  for (const Kernel& kernel : roll_call()) {
    if (kernel.is.op != p.op) continue;
    Candidate candidate{&kernel, 0, false, why_not_wished(kernel, p, machine, overrides)};
    candidate.legal = candidate.why.empty();
    if (candidate.legal)
      candidate.cost_us = cost_us(kernel, p, machine);
    else
      candidate.why = "not allowed: " + candidate.why;
    plan.candidates.push_back(std::move(candidate));
  }
  plan.kernel = cheapest(plan.candidates, plan.order, p, machine);
  if (!overrides.kernel.empty()) {
    plan.kernel = wished_kernel(p, machine, overrides);
    if (plan.kernel->fields.order != plan.order)
      plan.warning = fmt::format("row invariance is off: order {}, where the weight has {}",
                                 to_string(plan.kernel->fields.order), to_string(plan.order));
    plan.order = plan.kernel->fields.order;
  }
  if (plan.kernel == nullptr)  // m < 1: choose_order() found kernels for every m from 1 on
    fail(ErrorCode::invalid_argument, "{}: m = {}; expected 1 or more", problem_text(p), p.m);
  plan.cost_us = cost_us(*plan.kernel, p, machine);
  plan.floor_us = floor_us(p, machine, plan.precision());
  plan.workspace_bytes = workspace_bytes(*plan.kernel, p);
  say_why(plan, p, machine, !overrides.kernel.empty());
  return plan;
}

}  // namespace stepless
