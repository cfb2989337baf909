#include "api/explain_model.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "api/step_lines.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "base/measure.hpp"
#include "dispatch/explain.hpp"
#include "ops/plan_program.hpp"

namespace stepless {
namespace {

std::string layers_text(const StepLine& line) {
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

/// Times of the products of all layers of a line; 0: not measured.
double measured_us(const StepLine& line, const MeasuredModel* measured) {
  if (measured == nullptr || line.weight == nullptr) return 0;
  for (const MeasuredProduct& product : measured->products)
    if (product.m == std::max<std::int64_t>(line.m, 1) && product.n == line.weight->n &&
        product.k == line.weight->k && product.format == line.format)
      return summary_of(product.us).median * line.times * line.count;
  return 0;
}

struct PhaseTable {
  std::string phase, title;
  std::vector<StepLine> lines;
  const MeasuredModel* measured = nullptr;
  double step_us = 0;  // of the whole step; 0: not measured
};

std::string percent(double floor_us, double us) {
  return us > 0 && floor_us > 0 ? fmt::format("{:.0f} %", 100 * floor_us / us) : "–";
}

std::string table_text(const PhaseTable& table) {
  std::string out = table.title + "\n";
  std::size_t name = 4, kernel = 8;
  for (const StepLine& line : table.lines) {
    name = std::max(name, line.op.size() + 2);
    kernel = std::max(kernel, line.kernel.size() + 2);
  }
  const auto row = [&](const std::string& op, const std::string& layers, const std::string& shape,
                       const std::string& m, const std::string& k, const std::string& mb,
                       const std::string& floor, const std::string& predicted,
                       const std::string& measured, const std::string& share) {
    out += padded(op, name) + padded(layers, 8) + padded(shape, 14) + padded(m, 6) +
           padded(k, kernel) + padded(mb, 10) + padded(floor, 11) + padded(predicted, 11) +
           padded(measured, 10) + share + "\n";
  };
  out += padded("op", name) + padded("layers", 8) + padded("n × k", 14) + padded("m", 6) +
         padded("kernel", kernel) + padded("MB", 10) + padded("floor us", 11) +
         padded("predicted", 11) + padded("measured", 10) + "%floor\n";
  StepLine total;
  for (const StepLine& line : table.lines) {
    const double us = measured_us(line, table.measured);
    row(line.op, layers_text(line), line.shape, std::to_string(line.m), line.kernel,
        number(line.bytes / 1e6, "{:.2f}"), number(line.floor_us, "{:.1f}"),
        number(line.predicted_us, "{:.1f}"), number(us, "{:.1f}"), percent(line.floor_us, us));
    total.bytes += line.bytes;
    total.floor_us += line.floor_us;
    total.predicted_us += line.predicted_us;
  }
  row("total", "", "", "", "", number(total.bytes / 1e6, "{:.2f}"),
      number(total.floor_us, "{:.1f}"), number(total.predicted_us, "{:.1f}"),
      number(table.step_us, "{:.1f}"), percent(total.floor_us, table.step_us));
  return out;
}

Json table_json(const PhaseTable& table) {
  Json ops = Json::array();
  for (const StepLine& line : table.lines)
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
  for (std::size_t i = 0; i < table.lines.size(); ++i)
    if (const double us = measured_us(table.lines[i], table.measured); us > 0)
      ops[i]["measured_us"] = us;
  return {{"phase", table.phase},
          {"title", table.title},
          {"ops", ops},
          {"measured_us", table.step_us > 0 ? Json(table.step_us) : Json(nullptr)}};
}

/// Samples of the product of one weight; none: not measured.
std::vector<double> times_of(const Matrix& w, const Problem& problem,
                             const MeasuredModel* measured) {
  if (measured == nullptr) return {};
  for (const MeasuredProduct& product : measured->products)
    if (product.m == problem.m && product.n == w.n && product.k == w.k &&
        product.format == format_text(problem))
      return product.us;
  return {};
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
      const std::vector<double> us = times_of(*w, problem, wish.measured);
      const std::string& name = w->name;
      if (wish.json) {
        OrderedJson block = explain_json(problem, model.machine, plan, us);
        block["weight"] = name;
        blocks.push_back(block);
      } else {
        out += name + "\n" + explain_text(problem, model.machine, plan, us) + "\n";
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
                      lines_of(model, machine,
                               {.sequences = wish.batch,
                                .sampled = wish.batch,
                                .position = std::max<std::int64_t>(wish.context, 1) - 1}),
                      wish.measured, wish.measured != nullptr ? wish.measured->decode_us : 0});
  const std::int64_t prompt = wish.prompt > 0 ? wish.prompt : wish.context;
  if (wish.phase == "prefill" || wish.prompt > 0)
    tables.push_back({"prefill", fmt::format("{}   prefill, {} rows of a prompt", head, prompt),
                      lines_of(model, machine, {.rows = prompt}), wish.measured,
                      wish.measured != nullptr ? wish.measured->prefill_us : 0});
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
