// A bench result as text: a Markdown table that a terminal shows well, csv, JSON.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/bench/page.hpp"
#include "cli/bench/result.hpp"

namespace stepless::cli {
namespace {

std::string markdown(const BenchResult& result) {
  std::vector<std::vector<std::string>> cells(1);
  for (const Column& column : result.columns) cells[0].emplace_back(column.title);
  for (const OrderedJson& row : result.rows) {
    cells.emplace_back();
    for (const Column& column : result.columns) cells.back().push_back(cell_text(row, column));
  }
  std::vector<bool> right;
  for (const Column& column : result.columns) right.push_back(column.decimals >= 0);
  return markdown_table(cells, right);
}

std::string below_the_table(const BenchResult& result) {
  std::string out;
  if (!result.ceilings.is_null()) out += ceilings_line(result.ceilings) + "\n";
  const OrderedJson envelope = envelope_of(result);
  out += fmt::format("build: {} ({})\n", envelope["build"]["commit"].get<std::string>(),
                     envelope["build"]["build"].get<std::string>());
  for (const std::string& line : result.report) out += line + "\n";
  if (const int noisy = noisy_rows(result); noisy > 0)
    out += fmt::format(
        "{} of {} rows marked ~: the middle half of their samples covers more than "
        "{:.0f} %{}\n",
        noisy, result.rows.size(), 100 * kMostSpread,
        noisy > kMostNoisyRows ? "; not trusted" : "");
  return out;
}

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

std::string csv(const BenchResult& result) {
  const std::vector<std::string> fields = fields_of(result.rows);
  std::string out = fmt::format("{}\n", fmt::join(fields, ","));
  for (const OrderedJson& row : result.rows) {
    std::vector<std::string> cells;
    for (const std::string& field : fields) {
      const auto at = row.find(field);
      cells.push_back(at == row.end()   ? ""
                      : at->is_string() ? quoted(at->get<std::string>())
                                        : quoted(at->dump()));
    }
    out += fmt::format("{}\n", fmt::join(cells, ","));
  }
  return out;
}

std::string jsonl(const BenchResult& result) {
  std::string out;
  for (const OrderedJson& row : result.rows) out += row.dump() + "\n";
  OrderedJson envelope = envelope_of(result);
  envelope.erase("rows");
  return out + envelope.dump() + "\n";
}

}  // namespace

std::vector<std::string> fields_of(const std::vector<OrderedJson>& rows) {
  std::vector<std::string> fields;
  for (const OrderedJson& row : rows)
    for (const auto& [field, value] : row.items())
      if (std::ranges::find(fields, field) == fields.end()) fields.push_back(field);
  return fields;
}

void add_times(OrderedJson& row, const std::vector<double>& us, std::int64_t disturbed) {
  const Summary s = summary_of(us);
  row["us"] = s.median, row["us_min"] = s.min, row["us_max"] = s.max;
  row["us_q1"] = s.q1, row["us_q3"] = s.q3;
  row["spread_pct"] = 100 * s.spread();
  row["noisy"] = s.spread() > kMostSpread;
  row["repeats"] = us.size(), row["disturbed"] = disturbed;
}

void add_floor(OrderedJson& row, double bytes, double flop, double floor_us) {
  const double us = row["us"].get<double>();
  row["gb_s"] = bytes / us / 1e3;
  row["tflop_s"] = flop / us / 1e6;
  row["floor_us"] = floor_us;
  row["floor_pct"] = 100 * floor_us / us;
}

int noisy_rows(const BenchResult& result) {
  return static_cast<int>(std::ranges::count_if(
      result.rows, [](const OrderedJson& row) { return row.value("noisy", false); }));
}

std::string cell_text(const OrderedJson& row, const Column& column) {
  if (column.text != nullptr) return column.text(row);
  const auto at = row.find(column.field);
  if (at == row.end() || at->is_null()) return "–";
  if (at->is_string()) return at->get<std::string>();
  std::string text =
      column.decimals < 0 ? at->dump() : fmt::format("{:.{}f}", at->get<double>(), column.decimals);
  if (column.field == "us" && row.value("noisy", false)) text = "~" + text;
  return text;
}

std::string written(const BenchResult& result, const std::string& format) {
  if (format == "csv") return csv(result);
  if (format == "json") return envelope_of(result).dump(2) + "\n";
  if (format == "jsonl") return jsonl(result);
  if (format == "sql") return sql(result);
  return markdown(result) + "\n" + below_the_table(result);
}

}  // namespace stepless::cli
