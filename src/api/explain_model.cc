#include "api/explain_model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.hpp"
#include "base/json.hpp"
#include "dispatch/cost.hpp"
#include "dispatch/explain.hpp"
#include "ops/backend.hpp"
#include "ops/plan_program.hpp"
#include "runtime/kv_layout.hpp"

namespace stepless {
namespace {

/// One line of the table: one operation part, over the layers where it is the same.
struct Line {
  std::string op, shape, kernel;
  int first_layer = -1, last_layer = -1, count = 0;
  std::int64_t m = 0;
  double bytes = 0, floor_us = 0, predicted_us = 0;
};

const Value& value_of(const Program& program, ValueId id) {
  return program.values[static_cast<std::size_t>(id)];
}

/// The weight of a part of a matrix product; null: the operation is another.
const Matrix* weight_of(const Program& program, const Node& node, std::size_t part) {
  const std::vector<LinearPart>* parts = nullptr;
  if (const auto* linear = std::get_if<LinearOp>(&node.op)) parts = &linear->parts;
  if (const auto* experts = std::get_if<ExpertsOp>(&node.op)) parts = &experts->parts;
  if (parts == nullptr) return nullptr;
  return &program.matrices[static_cast<std::size_t>((*parts)[part].weight)];
}

/// Rows that meet k experts each, as if by chance: how many experts they wake, how many rows each
/// of those gets.
struct Crowd {
  double experts;
  std::int64_t rows;
};
Crowd crowd_of(const ExpertsOp& op, const Matrix& w, std::int64_t rows) {
  const auto all = static_cast<double>(w.experts), k = static_cast<double>(op.k);
  const double woken = all * (1 - std::pow(1 - k / all, static_cast<double>(rows)));
  const double each = static_cast<double>(rows) * k / std::max(woken, 1.0);
  return {woken, std::max<std::int64_t>(1, std::llround(each))};
}

/// Only operations that read weights or the cache are worth a line; the rest are summed up in one.
Line line_of(const LoadedModel& model, const Node& node, std::size_t part, std::int64_t rows,
             std::int64_t sampled, double context) {
  const Program& program = *model.program;
  Line line;
  line.op = node.name;
  line.first_layer = line.last_layer = node.layer;
  line.count = 1;
  line.m = rows;
  line.shape = "–";
  double times = 1;
  if (const Matrix* w = weight_of(program, node, part)) {
    line.op = node.layer < 0 ? node.name : w->name;  // a tied head is the head, not the embedding
    if (const auto at = line.op.find("layers."); at != std::string::npos)
      line.op = line.op.substr(line.op.find('.', at + 7) + 1);
    line.shape = fmt::format("{}×{}", w->n, w->k);
    line.bytes = static_cast<double>(w->bytes());
    if (const auto* experts = std::get_if<ExpertsOp>(&node.op)) {
      const Crowd crowd = crowd_of(*experts, *w, rows);
      line.m = crowd.rows;
      line.shape = fmt::format("{}·{}", w->experts, line.shape);
      times = crowd.experts;
      line.bytes *= times / static_cast<double>(w->experts);
    } else if (value_of(program, std::get<LinearOp>(node.op).x).rows == Rows::sampled) {
      line.m = sampled;
    }
  } else if (std::holds_alternative<SampleOp>(node.op) || std::holds_alternative<TakeOp>(node.op)) {
    line.m = sampled;
  }
  const Plan& plan = plan_for(program, node, part, std::max<std::int64_t>(line.m, 1));
  line.kernel = std::string(plan.kernel->name);
  if (weight_of(program, node, part) != nullptr) {
    line.floor_us = plan.floor_us * times;
    line.predicted_us = plan.cost_us * times;
  } else if (const auto* attn = std::get_if<AttnOp>(&node.op)) {
    KvShape kv = kv_shape(program);
    kv.layers = {program.kv_layers[static_cast<std::size_t>(attn->kv_layer)]};
    const double seen =
        attn->window > 0 ? std::min(context, static_cast<double>(attn->window)) : context;
    // A layer with a window of its own reads its newest positions, which are taken as plain.
    const KvLayout layout = attn->window > 0 ? KvLayout{} : KvLayout::of(kv, model.kv);
    line.bytes =
        static_cast<double>(rows) *
        layout.read_bytes(kv, std::max<std::int64_t>(static_cast<std::int64_t>(seen), 1) - 1);
    line.floor_us = line.bytes / (model.machine.read_gbps_all * 1e3);
    line.predicted_us = line.floor_us + model.machine.fixed_us;
  } else if (const auto* delta = std::get_if<DeltaOp>(&node.op)) {
    // A sequence's state is read and written once a step, however many rows it has.
    const Problem problem = problem_of(program, node, part, rows);
    const double state =
        static_cast<double>(program.state_layers[static_cast<std::size_t>(delta->state)]);
    line.shape = fmt::format("{}×{}×{}", delta->v_heads, delta->k_dim, delta->v_dim);
    line.bytes = 2 * sizeof(float) * state * static_cast<double>(sampled);
    line.floor_us = std::max(line.bytes / (model.machine.read_gbps_all * 1e3),
                             traffic_of(problem).flop / best_rate(problem, model.machine));
    line.predicted_us = line.floor_us + model.machine.fixed_us;
  } else {
    line.predicted_us = model.machine.fixed_us;
  }
  return line;
}

std::vector<Line> lines_of(const LoadedModel& model, std::int64_t rows, std::int64_t sampled,
                           double context) {
  std::vector<Line> lines;
  std::map<std::tuple<std::string, std::string, std::string>, std::size_t> known;
  for (const Node& node : model.program->nodes)
    for (std::size_t part = 0; part < node.plans.size(); ++part) {
      const Line line = line_of(model, node, part, rows, sampled, context);
      const auto [at, is_new] = known.try_emplace({line.op, line.shape, line.kernel}, lines.size());
      if (is_new) {
        lines.push_back(line);
        continue;
      }
      Line& sum = lines[at->second];
      sum.first_layer = std::min(sum.first_layer, line.first_layer);
      sum.last_layer = std::max(sum.last_layer, line.last_layer);
      ++sum.count;
      sum.bytes += line.bytes;
      sum.floor_us += line.floor_us;
      sum.predicted_us += line.predicted_us;
    }
  return lines;
}

std::string layers_text(const Line& line) {
  if (line.first_layer < 0) return "–";
  if (line.first_layer == line.last_layer) return std::to_string(line.first_layer);
  return fmt::format("{}..{}", line.first_layer, line.last_layer);
}

std::string number(double value, const char* form) {
  return value > 0 ? fmt::format(fmt::runtime(form), value) : "–";
}

/// Pads to a width in characters, not bytes: × and – take more than one byte.
std::string padded(const std::string& text, std::size_t width) {
  std::size_t shown = 0;
  for (const char c : text) shown += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  return text + std::string(shown < width ? width - shown : 0, ' ');
}

struct PhaseTable {
  std::string phase, title;
  std::vector<Line> lines;
};

std::string table_text(const PhaseTable& table) {
  std::string out = table.title + "\n";
  std::size_t name = 4, kernel = 8;
  for (const Line& line : table.lines) {
    name = std::max(name, line.op.size() + 2);
    kernel = std::max(kernel, line.kernel.size() + 2);
  }
  const auto row = [&](const std::string& op, const std::string& layers, const std::string& shape,
                       const std::string& m, const std::string& k, const std::string& mb,
                       const std::string& floor, const std::string& predicted) {
    out += padded(op, name) + padded(layers, 8) + padded(shape, 14) + padded(m, 6) +
           padded(k, kernel) + padded(mb, 10) + padded(floor, 11) + padded(predicted, 11) +
           padded("–", 10) + "–\n";
  };
  out += padded("op", name) + padded("layers", 8) + padded("n × k", 14) + padded("m", 6) +
         padded("kernel", kernel) + padded("MB", 10) + padded("floor us", 11) +
         padded("predicted", 11) + padded("measured", 10) + "%floor\n";
  Line total;
  for (const Line& line : table.lines) {
    row(line.op, layers_text(line), line.shape, std::to_string(line.m), line.kernel,
        number(line.bytes / 1e6, "{:.2f}"), number(line.floor_us, "{:.1f}"),
        number(line.predicted_us, "{:.1f}"));
    total.bytes += line.bytes;
    total.floor_us += line.floor_us;
    total.predicted_us += line.predicted_us;
  }
  row("total", "", "", "", "", number(total.bytes / 1e6, "{:.2f}"),
      number(total.floor_us, "{:.1f}"), number(total.predicted_us, "{:.1f}"));
  return out;
}

Json table_json(const PhaseTable& table) {
  Json ops = Json::array();
  for (const Line& line : table.lines)
    ops.push_back({{"op", line.op},
                   {"layers", layers_text(line)},
                   {"count", line.count},
                   {"shape", line.shape},
                   {"m", line.m},
                   {"kernel", line.kernel},
                   {"bytes", line.bytes},
                   {"floor_us", line.floor_us},
                   {"predicted_us", line.predicted_us},
                   {"measured_us", nullptr}});
  return {{"phase", table.phase}, {"title", table.title}, {"ops", ops}};
}

std::string layer_blocks(const LoadedModel& model, const ExplainModel& wish) {
  std::string out;
  OrderedJson blocks = OrderedJson::array();
  for (const Node& node : model.program->nodes) {
    if (node.layer != wish.layer) continue;
    for (std::size_t part = 0; part < node.plans.size(); ++part) {
      const Matrix* w = weight_of(*model.program, node, part);
      if (w == nullptr) continue;
      const auto* experts = std::get_if<ExpertsOp>(&node.op);
      const std::int64_t m =
          experts == nullptr ? wish.batch : crowd_of(*experts, *w, wish.batch).rows;
      const Problem problem = problem_of(*model.program, node, part, m);
      const Plan& plan = plan_for(*model.program, node, part, m);
      const std::string& name = w->name;
      if (wish.json) {
        OrderedJson block = explain_json(problem, model.machine, plan);
        block["weight"] = name;
        blocks.push_back(block);
      } else {
        out += name + "\n" + explain_text(problem, model.machine, plan) + "\n";
      }
    }
  }
  if (out.empty() && blocks.empty())
    fail(ErrorCode::invalid_argument, "layer: {}; {} has layers 0 to {}", wish.layer, model.name,
         layer_count(*model.program) - 1);
  return wish.json ? blocks.dump(2) + "\n" : out;
}

}  // namespace

std::string explain_model(const LoadedModel& model, const ExplainModel& wish) {
  if (!wish.phase.empty() && wish.phase != "decode" && wish.phase != "prefill")
    fail(ErrorCode::invalid_argument, "phase: \"{}\"; decode or prefill", wish.phase);
  if (wish.batch < 1 || wish.context < 0 || wish.prompt < 0)
    fail(ErrorCode::invalid_argument, "batch {}, context {}, prompt {}; counts, batch at least 1",
         wish.batch, wish.context, wish.prompt);
  if (wish.layer >= 0) return layer_blocks(model, wish);
  const Machine& machine = model.machine;
  const std::string head =
      fmt::format("{} on {}, {} {}   {:.1f} GB/s, {:.0f} GFLOP/s f32", model.name, machine.name,
                  machine.threads, machine.threads == 1 ? "thread" : "threads",
                  machine.read_gbps_all, machine.f32_gflops * machine.threads);
  std::vector<PhaseTable> tables;
  if (wish.phase != "prefill")
    tables.push_back({"decode",
                      fmt::format("{}   decode, batch {}, context {}   {} operations", head,
                                  wish.batch, wish.context, model.program->nodes.size()),
                      lines_of(model, wish.batch, wish.batch, static_cast<double>(wish.context))});
  const std::int64_t prompt = wish.prompt > 0 ? wish.prompt : wish.context;
  if (wish.phase == "prefill" || wish.prompt > 0)
    tables.push_back({"prefill", fmt::format("{}   prefill, {} rows of a prompt", head, prompt),
                      lines_of(model, prompt, 1, static_cast<double>(prompt) / 2)});
  if (wish.json) {
    Json all = Json::array();
    for (const PhaseTable& table : tables) all.push_back(table_json(table));
    return all.dump(2) + "\n";
  }
  std::string out;
  for (const PhaseTable& table : tables) out += (out.empty() ? "" : "\n") + table_text(table);
  return out;
}

}  // namespace stepless
