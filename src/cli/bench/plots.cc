#include "cli/bench/plots.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace stepless::cli {
namespace {

double number(const OrderedJson& row, const char* field) {
  const auto at = row.find(field);
  return at != row.end() && at->is_number() ? at->get<double>() : 0;
}

std::string text(const OrderedJson& row, const char* field) {
  const auto at = row.find(field);
  if (at == row.end() || at->is_null()) return "";
  return at->is_string() ? at->get<std::string>() : at->dump();
}

/// Lines by name, in the order in which they first come; points in the order of x.
class Lines {
 public:
  void add(const std::string& name, double x, double y, bool dashed = false) {
    if (x <= 0 || y <= 0) return;  // no such figure in this row
    const auto at = std::ranges::find_if(all_, [&](const Line& l) { return l.name == name; });
    Line& line = at == all_.end() ? all_.emplace_back(Line{name, {}, dashed}) : *at;
    line.points.emplace_back(x, y);
  }
  std::vector<Line> take() {
    for (Line& line : all_)
      std::ranges::stable_sort(line.points, {}, &std::pair<double, double>::first);
    return std::move(all_);
  }

 private:
  std::vector<Line> all_;
};

/// Plots by title, in the order in which they first come.
class Plots {
 public:
  explicit Plots(Plot like) : like_(std::move(like)) {}
  Lines& of(const std::string& title) {
    for (auto& [known, lines] : all_)
      if (known == title) return lines;
    return all_.emplace_back(title, Lines()).second;
  }
  std::vector<Plot> take() {
    std::vector<Plot> plots;
    for (auto& [title, lines] : all_) {
      Plot plot = like_;
      plot.title = title, plot.lines = lines.take();
      if (!plot.lines.empty()) plots.push_back(std::move(plot));
    }
    return plots;
  }

 private:
  Plot like_;
  std::vector<std::pair<std::string, Lines>> all_;
};

std::vector<Plot> qmm(const OrderedJson& rows) {
  Plots plots(
      {.x_title = "m: rows of x", .y_title = "us per call", .log_x = false, .log_y = false});
  std::map<std::string, std::vector<std::string>> kernels;  // of a shape, when several ran
  for (const OrderedJson& row : rows) {
    const std::string title =
        fmt::format("{} x {}, {}", text(row, "n"), text(row, "k"), text(row, "format"));
    Lines& lines = plots.of(title);
    lines.add(text(row, "kernel"), number(row, "m"), number(row, "us"));
    lines.add("floor", number(row, "m"), number(row, "floor_us"), true);
  }
  return plots.take();
}

std::vector<Plot> dot(const OrderedJson& rows, double ceiling) {
  Plots plots({.x_title = "k", .y_title = "GB/s", .log_x = true, .log_y = false});
  for (const OrderedJson& row : rows) {
    Lines& lines = plots.of("dot product");
    lines.add(text(row, "dtype") + " " + text(row, "form"), number(row, "k"), number(row, "gb_s"));
    lines.add("read ceiling", number(row, "k"), ceiling, true);
  }
  return plots.take();
}

std::vector<Plot> gather(const OrderedJson& rows) {
  Plots plots({.x_title = "tokens", .y_title = "us per call", .log_x = true, .log_y = true});
  for (const OrderedJson& row : rows) {
    Lines& lines =
        plots.of(fmt::format("{} x {}, {}, {} experts, top {}", text(row, "n"), text(row, "k"),
                             text(row, "format"), text(row, "experts"), text(row, "top_k")));
    lines.add("measured", number(row, "tokens"), number(row, "us"));
    lines.add("floor", number(row, "tokens"), number(row, "floor_us"), true);
  }
  return plots.take();
}

/// Prompt lengths and depths are two plots: what varies is the axis.
std::vector<Plot> models(const OrderedJson& rows) {
  Plots prompts({.x_title = "tokens of the prompt",
                 .y_title = "tokens per second",
                 .log_x = true,
                 .log_y = false});
  Plots answers({.x_title = "positions before, and 1",
                 .y_title = "tokens per second",
                 .log_x = true,
                 .log_y = false});
  for (const OrderedJson& row : rows) {
    const std::string name =
        fmt::format("{}, {} threads", text(row, "model_type"), text(row, "n_threads"));
    const double prompt = number(row, "n_prompt"), gen = number(row, "n_gen"),
                 rate = number(row, "avg_ts"), at_floor = rate * 100 / number(row, "floor_pct");
    if (gen == 0) {
      prompts.of("Prompts").add(name, prompt, rate);
      prompts.of("Prompts").add(name + ", at the floor", prompt, at_floor, true);
    } else if (prompt == 0) {
      answers.of("Answers").add(name, number(row, "n_depth") + 1, rate);
      answers.of("Answers").add(name + ", at the floor", number(row, "n_depth") + 1, at_floor,
                                true);
    }
  }
  std::vector<Plot> all = prompts.take();
  for (Plot& plot : answers.take()) all.push_back(std::move(plot));
  return all;
}

std::vector<Plot> batch(const OrderedJson& rows) {
  Plots plots({.x_title = "sequences at once",
               .y_title = "tokens per second",
               .log_x = true,
               .log_y = false});
  for (const OrderedJson& row : rows) {
    Lines& lines =
        plots.of(fmt::format("Answers of {} tokens behind {}", text(row, "tg"), text(row, "pp")));
    const double rate = number(row, "speed_tg");
    lines.add("all sequences", number(row, "pl"), rate);
    lines.add("one of them", number(row, "pl"), number(row, "speed_per_sequence"));
    lines.add("all, at the floor", number(row, "pl"), rate * 100 / number(row, "tg_floor_pct"),
              true);
  }
  return plots.take();
}

double read_ceiling(const OrderedJson& envelope) {
  const auto ceilings = envelope.find("ceilings");
  if (ceilings == envelope.end() || !ceilings->is_object()) return 0;
  const auto read = ceilings->find("read_all_gb_s");
  return read == ceilings->end() || !read->is_object() ? 0 : number(*read, "median");
}

}  // namespace

std::vector<Plot> plots_of(const OrderedJson& envelope) {
  const std::string bench = text(envelope, "bench");
  const auto rows = envelope.find("rows");
  if (rows == envelope.end() || !rows->is_array()) return {};
  if (bench == "qmm") return qmm(*rows);
  if (bench == "dot") return dot(*rows, read_ceiling(envelope));
  if (bench == "gather") return gather(*rows);
  if (bench == "models") return models(*rows);
  if (bench == "batch") return batch(*rows);
  return {};
}

}  // namespace stepless::cli
