// A bench result as SQL: a table of its rows, which llama-bench's readers know as llama_bench.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/bench/result.hpp"

namespace stepless::cli {
namespace {

std::string sql_text(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "''" : std::string(1, c);
  return out + "'";
}

/// Of the first row that has the field.
const char* type_of(const std::vector<OrderedJson>& rows, const std::string& field) {
  for (const OrderedJson& row : rows) {
    const auto at = row.find(field);
    if (at == row.end() || at->is_null()) continue;
    return at->is_number_integer() || at->is_boolean() ? "INTEGER"
           : at->is_number()                           ? "REAL"
                                                       : "TEXT";
  }
  return "TEXT";
}

std::string value_of(const OrderedJson& row, const std::string& field) {
  const auto at = row.find(field);
  if (at == row.end() || at->is_null()) return "NULL";
  if (at->is_boolean()) return at->get<bool>() ? "1" : "0";
  if (at->is_number()) return at->dump();
  return sql_text(at->is_string() ? at->get<std::string>() : at->dump());
}

}  // namespace

std::string sql(const BenchResult& result) {
  const std::string table = result.bench == "models" ? "llama_bench" : "bench_" + result.bench;
  const std::vector<std::string> fields = fields_of(result.rows);
  std::string out = fmt::format("CREATE TABLE IF NOT EXISTS {} (\n", table);
  for (std::size_t i = 0; i < fields.size(); ++i)
    out += fmt::format("  {} {}{}\n", fields[i], type_of(result.rows, fields[i]),
                       i + 1 < fields.size() ? "," : "");
  out += ");\n\n";
  for (const OrderedJson& row : result.rows) {
    std::vector<std::string> values;
    for (const std::string& field : fields) values.push_back(value_of(row, field));
    out += fmt::format("INSERT INTO {} ({}) VALUES ({});\n", table, fmt::join(fields, ", "),
                       fmt::join(values, ", "));
  }
  return out;
}

}  // namespace stepless::cli
