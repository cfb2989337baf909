#include "dispatch/explain.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/measure.hpp"
#include "dispatch/cost.hpp"

namespace stepless {
namespace {

std::string time_text(double us) {
  if (us >= 1e6) return fmt::format("{:.3f} s", us / 1e6);
  if (us >= 1e3) return fmt::format("{:.3f} ms", us / 1e3);
  return fmt::format("{:.2f} us", us);
}

std::string megabytes(double bytes) { return fmt::format("{:.2f} MB", bytes / 1e6); }

/// y(4,13824) = x(4,5120) · wᵀ; other ops name their sizes only.
std::string equation(const Problem& p) {
  const auto y = fmt::format("y({},{})", p.m, p.n);
  const auto x = fmt::format("x({},{})", p.m, p.k);
  switch (p.op) {
    case KernelOp::qmm:
    case KernelOp::mm:
      return fmt::format("{} = {} · wᵀ", y, x);
    case KernelOp::qmmn:
      return fmt::format("{} = {} · w", y, x);
    case KernelOp::dot:
      return fmt::format("y = a({}) · b({})", p.k, p.k);
    case KernelOp::embed:
      return fmt::format("y({},{}) = w({},{})[ids]", p.m, p.k, p.n, p.k);
    case KernelOp::attn:
      return fmt::format("{} over {} positions", y, p.k);
    case KernelOp::norm:
    case KernelOp::angles:
    case KernelOp::rope:
    case KernelOp::kvput:
    case KernelOp::split:
    case KernelOp::kvpack:
    case KernelOp::glu:
    case KernelOp::add:
    case KernelOp::take:
    case KernelOp::route:
    case KernelOp::combine:
      return y;
    case KernelOp::conv:
      return fmt::format("{} over {} taps", y, p.k);
    case KernelOp::delta:
      return fmt::format("{} through a state of {} rows", y, p.k);
    case KernelOp::sample:
      return fmt::format("{} tokens of logits({},{})", p.m, p.m, p.n);
  }
  return y;
}

std::string_view rate_name(const Problem& p, const Machine& machine, const Plan& plan) {
  if (plan.precision() == Precision::int8) return "int8";
  const double rate = best_rate(p, machine) / machine.threads;
  if (rate == 1e3 * machine.f32_gflops) return "f32";
  const double planes = p.x_type == DType::f16 ? 2 : 1;
  return rate == 1e3 * machine.bf16_gflops / planes ? "bf16" : "int16";
}

std::string machine_line(const Problem& p, const Machine& machine, const Plan& plan) {
  const std::string threads =
      machine.threads == 1 ? "1 thread" : fmt::format("{} threads", machine.threads);
  std::string source = machine.source;
  if (machine.profile != machine.name) source = machine.profile + ": " + source;
  return fmt::format("machine   {}, {}   read {:.1f} GB/s, {} {:.0f} GFLOP/s   ({})\n",
                     machine.name, threads, read_rate(machine) / 1e3, rate_name(p, machine, plan),
                     best_rate(p, machine, plan.precision()) / 1e3, source);
}

std::string bytes_line(const Traffic& t, const Plan& plan) {
  std::string parts;
  if (t.weight_bytes > 0) parts = fmt::format("weights {} + ", megabytes(t.weight_bytes));
  return fmt::format("bytes     {}x {} + y {} = {}   order {}, splits {}, for every m\n", parts,
                     megabytes(t.x_bytes), megabytes(t.y_bytes), megabytes(t.bytes()),
                     to_string(plan.order), plan.splits);
}

std::string floor_line(const Problem& p, const Machine& machine, const Plan& plan) {
  const Traffic t = traffic_of(p);
  const double memory = memory_floor_us(p, machine);
  if (plan.floor_us <= memory)
    return fmt::format("floor     {}   bound by memory (arithmetic {}, {:.2f} GFLOP)\n",
                       time_text(plan.floor_us),
                       time_text(t.flop / best_rate(p, machine, plan.precision())), t.flop / 1e9);
  return fmt::format("floor     {}   bound by arithmetic, {:.2f} GFLOP (memory {})\n",
                     time_text(plan.floor_us), t.flop / 1e9, time_text(memory));
}

double floor_percent(const Plan& plan, double cost) { return 100 * plan.floor_us / cost; }

std::string measured_line(const Plan& plan, const std::vector<double>& measured_us) {
  if (measured_us.empty()) return "measured  –\n";
  const Summary measured = summary_of(measured_us);
  return fmt::format(
      "measured  {}   {:.0f} % of floor   {} runs, {}..{}, cold   predicted/measured {:.2f}\n",
      time_text(measured.median), floor_percent(plan, measured.median), measured_us.size(),
      time_text(measured.min), time_text(measured.max), plan.cost_us / measured.median);
}

/// The chosen kernel, then legal ones by cost, then the others; the roll call's order among equals.
std::vector<const Candidate*> ranked(const Plan& plan) {
  std::vector<const Candidate*> rows;
  for (const Candidate& candidate : plan.candidates) rows.push_back(&candidate);
  std::ranges::stable_sort(rows, [&](const Candidate* a, const Candidate* b) {
    const bool first = a->kernel == plan.kernel, second = b->kernel == plan.kernel;
    if (first != second) return first;
    if (a->legal != b->legal) return a->legal;
    return a->legal && a->cost_us < b->cost_us;
  });
  return rows;
}

}  // namespace

std::string format_text(const Problem& p) {
  std::string text(to_string(p.op));
  const bool weighted = has_weight(p.op);
  const bool cached = p.op == KernelOp::attn || p.op == KernelOp::kvpack;
  if ((weighted || cached) && p.packed)
    text += fmt::format(" {} b{} g{}", to_string(p.quant.mode), p.quant.bits, p.quant.group_size);
  text += fmt::format(" {}", to_string(p.x_type));
  // Words that are needed only when types differ.
  if (weighted && p.w_type != p.x_type && (!p.packed || p.quant.mode == Mode::affine))
    text += fmt::format(" w {}", to_string(p.w_type));
  if (p.y_type != p.x_type) text += fmt::format(" y {}", to_string(p.y_type));
  return text;
}

std::string problem_text(const Problem& p) {
  return fmt::format("{}{}  m={} n={} k={}", format_text(p),
                     p.role == Role::prompt ? " prompt" : "", p.m, p.n, p.k);
}

std::string explain_text(const Problem& p, const Machine& machine, const Plan& plan,
                         const std::vector<double>& measured_us) {
  std::string format(to_string(p.op));
  if (has_weight(p.op) && p.packed)
    format += fmt::format(" {} b{} g{}", to_string(p.quant.mode), p.quant.bits, p.quant.group_size);
  const std::string w = has_weight(p.op) && (!p.packed || p.quant.mode == Mode::affine)
                            ? fmt::format(", {} {}", p.packed ? "scales" : "w", to_string(p.w_type))
                            : "";
  std::string text = fmt::format("problem   {}   {}   x {}{} → y {}\n", equation(p), format,
                                 to_string(p.x_type), w, to_string(p.y_type));
  text += machine_line(p, machine, plan) + bytes_line(traffic_of(p), plan) +
          floor_line(p, machine, plan);
  std::size_t width = 6;
  for (const Candidate& c : plan.candidates) width = std::max(width, c.kernel->name.size());
  text += fmt::format("  {:<{}}  {:>11}  {:>7}  why\n", "kernel", width, "predicted", "% floor");
  for (const Candidate* c : ranked(plan)) {
    const std::string cost = c->legal ? time_text(c->cost_us) : "–";
    const std::string percent =
        c->legal ? fmt::format("{:.0f} %", floor_percent(plan, c->cost_us)) : "–";
    text += fmt::format("{} {:<{}}  {:>11}  {:>7}  {}", c->kernel == plan.kernel ? '*' : ' ',
                        c->kernel->name, width, cost, percent, c->why);
    if (c->kernel == plan.kernel && has_weight(p.op))
      text += fmt::format("; layout {}", to_string(c->kernel->fields.layout));
    text += '\n';
  }
  return text + measured_line(plan, measured_us);
}

OrderedJson explain_json(const Problem& p, const Machine& machine, const Plan& plan,
                         const std::vector<double>& measured_us) {
  OrderedJson json;
  OrderedJson& problem = json["problem"];
  problem["op"] = to_string(p.op);
  if (has_weight(p.op) && p.packed) {
    problem["mode"] = to_string(p.quant.mode);
    problem["bits"] = p.quant.bits, problem["group_size"] = p.quant.group_size;
  }
  problem["x_type"] = to_string(p.x_type), problem["y_type"] = to_string(p.y_type);
  if (has_weight(p.op)) problem["w_type"] = to_string(p.w_type);
  problem["m"] = p.m, problem["n"] = p.n, problem["k"] = p.k;
  json["machine"] = {{"name", machine.name},
                     {"profile", machine.profile},
                     {"threads", machine.threads},
                     {"read_gbps", read_rate(machine) / 1e3},
                     {"gflops", best_rate(p, machine, plan.precision()) / 1e3},
                     {"source", machine.source}};
  const Traffic t = traffic_of(p);
  json["bytes"] = {{"weights", t.weight_bytes}, {"x", t.x_bytes}, {"y", t.y_bytes}};
  json["gflop"] = t.flop / 1e9;
  json["order"] = to_string(plan.order), json["splits"] = plan.splits;
  json["workspace_bytes"] = plan.workspace_bytes;
  json["floor_us"] = plan.floor_us, json["memory_floor_us"] = memory_floor_us(p, machine);
  json["kernel"] = plan.kernel->name;
  json["predicted_us"] = plan.cost_us, json["measured_us"] = nullptr;
  if (!measured_us.empty()) {
    const Summary measured = summary_of(measured_us);
    json["measured_us"] = measured.median;
    json["measured_us_min"] = measured.min, json["measured_us_max"] = measured.max;
    json["measured_runs"] = measured_us.size();
    json["measured_floor_percent"] = floor_percent(plan, measured.median);
  }
  json["floor_percent"] = floor_percent(plan, plan.cost_us);
  if (!plan.warning.empty()) json["warning"] = plan.warning;
  for (const Candidate* c : ranked(plan)) {
    OrderedJson row = {{"kernel", c->kernel->name}, {"legal", c->legal}, {"why", c->why}};
    row["predicted_us"] = c->legal ? OrderedJson(c->cost_us) : OrderedJson(nullptr);
    row["source"] = share_of(*c->kernel, packed_bits(p), machine).source;
    json["candidates"].push_back(std::move(row));
  }
  return json;
}

}  // namespace stepless
