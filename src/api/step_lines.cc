#include "api/step_lines.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "api/bench_probes.hpp"
#include "api/model_state.hpp"
#include "dispatch/cost.hpp"
#include "dispatch/explain.hpp"
#include "ops/backend.hpp"
#include "ops/plan_program.hpp"
#include "runtime/kv_layout.hpp"

namespace stepless {
namespace {

const Value& value_of(const Program& program, ValueId id) {
  return program.values[static_cast<std::size_t>(id)];
}

/// One part of one operation in one step.
struct Place {
  const LoadedModel& model;
  const Machine& machine;
  const StepShape& step;
  const Node& node;
  std::size_t part;

  const Program& program() const { return *model.program; }
  std::int64_t rows() const { return step.sequences * step.rows; }
  /// Rows of one sequence that fill a page are a prompt's.
  Role role() const { return step.rows >= kKvPageTokens ? Role::prompt : Role::decode; }
  bool reads_sampled_rows() const {
    if (const auto* linear = std::get_if<LinearOp>(&node.op))
      return value_of(program(), linear->x).rows == Rows::sampled;
    return std::holds_alternative<SampleOp>(node.op) || std::holds_alternative<TakeOp>(node.op);
  }
};

std::int64_t planned_rows(const StepLine& line) { return std::max<std::int64_t>(line.m, 1); }

/// Of the largest m of the line's bucket.
const Plan& plan_of(const Place& at, const StepLine& line) {
  return plan_for(at.program(), at.node, at.part, planned_rows(line), at.role());
}

void fill_product(const Place& at, const Matrix& w, StepLine& line) {
  // A tied head is the head, not the embedding.
  line.op = at.node.layer < 0 ? at.node.name : w.name;
  if (const auto dot = line.op.find("layers."); dot != std::string::npos)
    line.op = line.op.substr(line.op.find('.', dot + 7) + 1);
  line.shape = fmt::format("{}×{}", w.n, w.k);
  line.bytes = static_cast<double>(w.bytes());
  double& times = line.times;
  if (const auto* experts = std::get_if<ExpertsOp>(&at.node.op)) {
    const Crowd crowd = crowd_of(*experts, w, at.rows());
    line.m = crowd.rows;
    line.shape = fmt::format("{}·{}", w.experts, line.shape);
    times = crowd.experts;
    line.bytes *= times / static_cast<double>(w.experts);
  }
  const Plan& plan = plan_of(at, line);
  const Problem problem = problem_of(at.program(), at.node, at.part, planned_rows(line), at.role());
  line.weight = &w, line.x_type = problem.x_type, line.format = format_text(problem);
  // As planned, at the largest m of the bucket; by other ceilings at the m of the step.
  line.floor_us =
      times * (&at.machine == &at.model.machine ? plan.floor_us : floor_us(problem, at.machine));
  line.predicted_us = plan.cost_us * times;
}

/// The keys and values that a sequence's rows see are read once at least, however many rows see
/// them; each row multiplies with all that it sees.
void fill_attention(const Place& at, const AttnOp& attn, StepLine& line) {
  KvShape kv = kv_shape(at.program());
  kv.layers = {at.program().kv_layers[static_cast<std::size_t>(attn.kv_layer)]};
  const std::int64_t last = at.step.position + at.step.rows;  // positions that the last row sees
  const std::int64_t window = attn.window > 0 ? attn.window : last;
  // A layer with a window of its own reads its newest positions, which are taken as plain.
  const KvLayout layout = attn.window > 0 ? KvLayout{} : KvLayout::of(kv, at.model.kv);
  const std::int64_t seen = std::min(last, window + at.step.rows - 1);
  line.bytes = static_cast<double>(at.step.sequences) * layout.read_bytes(kv, seen - 1);
  double pairs = 0;
  for (std::int64_t row = 0; row < at.step.rows; ++row)
    pairs += static_cast<double>(std::min(at.step.position + row + 1, window));
  Problem one = problem_of(at.program(), at.node, at.part, 1);
  one.k = 1;
  const double flop = traffic_of(one).flop * pairs * static_cast<double>(at.step.sequences);
  line.floor_us = std::max(line.bytes / read_rate(at.machine), flop / best_rate(one, at.machine));
  const Machine& machine = at.model.machine;
  const Kernel& kernel = *plan_of(at, line).kernel;
  line.predicted_us = cost_us(kernel, packed_bits(one), machine, line.bytes / read_rate(machine),
                              flop / kernel_rate(kernel, one, machine));
}

/// A sequence's state is read and written once a step, however many rows it has.
void fill_delta(const Place& at, const DeltaOp& delta, StepLine& line) {
  const Problem problem = problem_of(at.program(), at.node, at.part, at.rows());
  const double state =
      static_cast<double>(at.program().state_layers[static_cast<std::size_t>(delta.state)]);
  line.shape = fmt::format("{}×{}×{}", delta.v_heads, delta.k_dim, delta.v_dim);
  line.bytes = 2 * sizeof(float) * state * static_cast<double>(at.step.sequences);
  line.floor_us = std::max(line.bytes / read_rate(at.machine),
                           traffic_of(problem).flop / best_rate(problem, at.machine));
  line.predicted_us = line.floor_us + at.model.machine.fixed_us;
}

/// Only operations that read weights or the cache are worth a line; the rest are summed up in one.
StepLine line_of(const Place& at) {
  StepLine line;
  line.op = at.node.name;
  line.first_layer = line.last_layer = at.node.layer;
  line.count = 1;
  line.m = at.reads_sampled_rows() ? at.step.sampled : at.rows();
  line.shape = "–";
  const Matrix* const w = weight_of(at.program(), at.node, at.part);
  const auto* const attn = std::get_if<AttnOp>(&at.node.op);
  const auto* const delta = std::get_if<DeltaOp>(&at.node.op);
  if (w != nullptr)
    fill_product(at, *w, line);
  else if (attn != nullptr)
    fill_attention(at, *attn, line);
  else if (delta != nullptr)
    fill_delta(at, *delta, line);
  else
    line.predicted_us = plan_of(at, line).cost_us;
  line.kernel = std::string(plan_of(at, line).kernel->name);
  return line;
}

}  // namespace

const Matrix* weight_of(const Program& program, const Node& node, std::size_t part) {
  const std::vector<LinearPart>* parts = nullptr;
  if (const auto* linear = std::get_if<LinearOp>(&node.op)) parts = &linear->parts;
  if (const auto* experts = std::get_if<ExpertsOp>(&node.op)) parts = &experts->parts;
  if (parts == nullptr) return nullptr;
  return &program.matrices[static_cast<std::size_t>((*parts)[part].weight)];
}

Crowd crowd_of(const ExpertsOp& op, const Matrix& w, std::int64_t rows) {
  const auto all = static_cast<double>(w.experts), k = static_cast<double>(op.k);
  const double woken = all * (1 - std::pow(1 - k / all, static_cast<double>(rows)));
  const double each = static_cast<double>(rows) * k / std::max(woken, 1.0);
  return {woken, std::max<std::int64_t>(1, std::llround(each))};
}

std::vector<StepLine> lines_of(const LoadedModel& model, const Machine& machine,
                               const StepShape& step) {
  std::vector<StepLine> lines;
  std::map<std::tuple<std::string, std::string, std::string>, std::size_t> known;
  for (const Node& node : model.program->nodes)
    for (std::size_t part = 0; part < node.plans.size(); ++part) {
      const Place at{model, machine, step, node, part};
      if (step.sampled == 0 && at.reads_sampled_rows()) continue;
      const StepLine line = line_of(at);
      const auto [place, is_new] =
          known.try_emplace({line.op, line.shape, line.kernel}, lines.size());
      if (is_new) {
        lines.push_back(line);
        continue;
      }
      StepLine& sum = lines[place->second];
      sum.first_layer = std::min(sum.first_layer, line.first_layer);
      sum.last_layer = std::max(sum.last_layer, line.last_layer);
      ++sum.count;
      sum.bytes += line.bytes;
      sum.floor_us += line.floor_us;
      sum.predicted_us += line.predicted_us;
    }
  return lines;
}

StepFloor step_floor(const Model& model, const StepShape& step, const Ceilings& ceilings) {
  const LoadedModel& loaded = *model.state()->loaded;
  // Of a GPU there are no ceilings but those of its profile.
  const Machine machine = ceilings.read_gb_s.empty() ? Machine(loaded.machine)
                                                     : with_ceilings(loaded.machine, ceilings);
  StepFloor floor;
  for (const StepLine& line : lines_of(loaded, machine, step)) {
    floor.bytes += line.bytes;
    floor.us += line.floor_us;
  }
  return floor;
}

}  // namespace stepless
