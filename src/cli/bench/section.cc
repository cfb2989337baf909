// What of a result a page shows. Results of other tools of this repository have other fields than
// bench's own, so nothing is asked of them but to be an object.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "cli/bench/page.hpp"
#include "cli/bench/plots.hpp"
#include "cli/bench/result.hpp"

namespace stepless::cli {
namespace {

// Of samples, which the JSON has; a table shows median, least and most.
constexpr const char* kLeftOut[] = {"us_q1",      "us_q3",      "noisy",  "repeats",  "disturbed",
                                    "samples_ns", "samples_ts", "avg_ns", "stddev_ns"};

std::string number_text(const OrderedJson& value) {
  if (value.is_number_integer()) return value.dump();
  const auto number = value.get<double>();
  if (std::abs(number) >= 1e4) return fmt::format("{:.0f}", number);
  return fmt::format("{:.4g}", number);
}

/// "" for what is no plain value.
std::string cell_of(const OrderedJson& value) {
  if (value.is_null()) return "–";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return value.is_number() ? number_text(value) : "";
}

bool is_plain(const OrderedJson& value) { return !value.is_object() && !value.is_array(); }

bool is_table(const OrderedJson& value) {
  return value.is_array() && !value.empty() &&
         std::ranges::all_of(value, [](const OrderedJson& row) { return row.is_object(); });
}

std::string list_text(const OrderedJson& list) {
  std::vector<std::string> parts;
  for (const OrderedJson& each : list)
    parts.push_back(is_plain(each) ? cell_of(each) : each.dump());
  return fmt::format("{}", fmt::join(parts, ", "));
}

/// {median, min, max} is one figure; other objects give one fact for each field.
void add_facts(Section& section, const std::string& name, const OrderedJson& value) {
  if (value.is_null()) return;
  if (is_plain(value)) {
    if (!cell_of(value).empty()) section.facts.emplace_back(name, cell_of(value));
  } else if (value.is_array()) {
    if (!value.empty()) section.facts.emplace_back(name, list_text(value));
  } else if (value.contains("median") && value.contains("min") && value.contains("max")) {
    section.facts.emplace_back(name, fmt::format("{} ({} to {})", cell_of(value["median"]),
                                                 cell_of(value["min"]), cell_of(value["max"])));
  } else {
    for (const auto& [field, each] : value.items()) add_facts(section, name + " " + field, each);
  }
}

PageTable table_of(Section& section, const std::string& title, const OrderedJson& list) {
  PageTable table;
  table.title = title;
  const std::vector<OrderedJson> rows(list.begin(), list.end());
  std::vector<std::string> same;
  for (const std::string& field : fields_of(rows)) {
    if (std::ranges::find(kLeftOut, field) != std::end(kLeftOut)) continue;
    const auto value = [&](const OrderedJson& row) {
      return row.value(field, OrderedJson(nullptr));
    };
    if (!std::ranges::all_of(rows, [&](const OrderedJson& row) { return is_plain(value(row)); }))
      continue;
    const bool equal = std::ranges::all_of(
        rows, [&](const OrderedJson& row) { return value(row) == value(rows[0]); });
    if (equal && rows.size() > 1) {
      if (!cell_of(value(rows[0])).empty() && !value(rows[0]).is_null())
        same.push_back(field + " " + cell_of(value(rows[0])));
      continue;
    }
    table.head.push_back(field);
    table.right.push_back(std::ranges::all_of(rows, [&](const OrderedJson& row) {
      return value(row).is_number() || value(row).is_null();
    }));
  }
  for (const OrderedJson& row : rows) {
    table.rows.emplace_back();
    for (const std::string& field : table.head)
      table.rows.back().push_back(cell_of(row.value(field, OrderedJson(nullptr))));
  }
  if (!same.empty())
    section.facts.emplace_back("in every row" + (title.empty() ? "" : " of " + title),
                               fmt::format("{}", fmt::join(same, ", ")));
  return table;
}

/// A list whose objects hold rows of their own, e.g. shapes: a table for each.
bool has_rows(const OrderedJson& list) {
  return is_table(list) && std::ranges::all_of(list, [](const OrderedJson& each) {
           return each.contains("rows") && is_table(each["rows"]);
         });
}

void add_nested(Section& section, const OrderedJson& list) {
  for (const OrderedJson& each : list) {
    std::vector<std::string> words;
    for (const auto& [field, value] : each.items())
      if (is_plain(value)) words.push_back(field + " " + cell_of(value));
    section.tables.push_back(
        table_of(section, fmt::format("{}", fmt::join(words, ", ")), each["rows"]));
  }
}

}  // namespace

Section section_of(const std::string& title, const OrderedJson& result) {
  Section section;
  section.title = title;
  section.json = result;
  for (const auto& [field, value] : result.items()) {
    if (field == "report" && value.is_array()) {
      for (const OrderedJson& line : value)
        if (line.is_string()) section.report.push_back(line.get<std::string>());
    } else if (has_rows(value)) {
      add_nested(section, value);
    } else if (is_table(value)) {
      section.tables.push_back(table_of(section, field == "rows" ? "" : field, value));
    } else if (field != "schema" && field != "key") {
      add_facts(section, field, value);
    }
  }
  section.plots = plots_of(result);
  return section;
}

}  // namespace stepless::cli
