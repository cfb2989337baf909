// stepless bench compare OLD NEW: the same rows of two results, where machine and method agree.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "cli/bench/bench.hpp"

namespace stepless::cli {
namespace {

OrderedJson read_result(const std::string& path) {
  OrderedJson json;
  try {
    json = parse_ordered_json(read_text(path, std::int64_t{64} << 20), path);
  } catch (const Error& error) {
    throw ExitError(Exit::usage, error.code(), error.what());
  }
  const auto lacks = [&](const char* field, bool good) {
    if (!good) usage_error(fmt::format("{}: {}: not as bench -o json writes it", path, field));
  };
  for (const char* field : {"schema", "bench", "machine", "method", "key", "rows"})
    lacks(field, json.is_object() && json.contains(field));
  lacks("machine", json["machine"].is_object());
  lacks("method", json["method"].is_object());
  lacks("key", json["key"].is_array());
  lacks("rows", json["rows"].is_array());
  for (const OrderedJson& row : json["rows"])
    for (const char* field : {"us", "us_q1", "us_q3"})
      lacks(field, row.is_object() && row.contains(field) && row[field].is_number() &&
                       row[field].get<double>() > 0);
  return json;
}

/// "machine.threads: 1 and 2" for every field that differs.
void differences(const std::string& name, const OrderedJson& a, const OrderedJson& b,
                 std::vector<std::string>& found) {
  if (a.is_object() && b.is_object()) {
    for (const auto& [field, value] : a.items())
      differences(name + "." + field, value, b.value(field, OrderedJson(nullptr)), found);
    for (const auto& [field, value] : b.items())
      if (!a.contains(field)) differences(name + "." + field, nullptr, value, found);
  } else if (a != b) {
    found.push_back(fmt::format("{}: {} and {}", name, a.dump(), b.dump()));
  }
}

void check_comparable(const OrderedJson& old, const OrderedJson& fresh) {
  std::vector<std::string> found;
  for (const char* field : {"schema", "bench", "model", "method", "key"})
    differences(field, old.value(field, OrderedJson(nullptr)),
                fresh.value(field, OrderedJson(nullptr)), found);
  OrderedJson one = old["machine"], other = fresh["machine"];
  one.erase("digest"), other.erase("digest");  // it is of the fields below
  differences("machine", one, other, found);
  if (!found.empty())
    throw ExitError(Exit::not_comparable, ErrorCode::invalid_argument,
                    fmt::format("bench compare: not comparable; {}", fmt::join(found, "; ")));
}

std::string key_of(const OrderedJson& row, const OrderedJson& fields) {
  std::string key;
  for (const OrderedJson& field : fields)
    key += row.value(field.get<std::string>(), OrderedJson(nullptr)).dump() + " ";
  return key;
}

/// 3% or 3: hundredths, as a fraction.
double allowed(const std::string& text) {
  char* end = nullptr;
  const double percent = std::strtod(text.c_str(), &end);
  const std::string rest = end;
  if (end == text.c_str() || !(percent >= 0 && percent <= 1000) || (rest != "" && rest != "%"))
    usage_error("--allow " + text + ": not a percentage; e.g. 3%");
  return percent / 100;
}

OrderedJson compared(const OrderedJson& old, const OrderedJson& fresh, const OrderedJson& fields,
                     double allow) {
  const auto us = [](const OrderedJson& row, const char* field) {
    return row[field].get<double>();
  };
  OrderedJson row;
  for (const OrderedJson& field : fields)
    row[field.get<std::string>()] = old.value(field.get<std::string>(), OrderedJson(nullptr));
  const double low = us(fresh, "us_q1") / us(old, "us_q3"),
               high = us(fresh, "us_q3") / us(old, "us_q1");
  row["old_us"] = us(old, "us"), row["new_us"] = us(fresh, "us");
  row["ratio"] = us(fresh, "us") / us(old, "us");
  row["ratio_low"] = low, row["ratio_high"] = high;
  row["interval"] = fmt::format("{:.2f}..{:.2f}", low, high);
  row["verdict"] = low > 1 + allow ? "slower" : high < 1 - allow ? "faster" : "same";
  return row;
}

}  // namespace

BenchResult bench_compare(const BenchFlags& flags) {
  if (flags.files.size() != 2)
    usage_error(fmt::format("bench compare: {} files; two, the older result and the newer",
                            flags.files.size()));
  const double allow = allowed(flags.allow);
  const OrderedJson old = read_result(flags.files[0]), fresh = read_result(flags.files[1]);
  check_comparable(old, fresh);
  BenchResult result;
  result.bench = "compare";
  result.method = {{"allow", allow}, {"of", old["bench"]}};
  std::map<std::string, const OrderedJson*> known;
  for (const OrderedJson& row : old["rows"]) known[key_of(row, old["key"])] = &row;
  std::map<std::string, int> verdicts = {{"slower", 0}, {"same", 0}, {"faster", 0}};
  for (const OrderedJson& row : fresh["rows"]) {
    const auto at = known.find(key_of(row, old["key"]));
    if (at == known.end()) continue;
    result.rows.push_back(compared(*at->second, row, old["key"], allow));
    ++verdicts[result.rows.back()["verdict"].get<std::string>()];
  }
  for (const OrderedJson& field : old["key"]) result.key.push_back(field.get<std::string>());
  for (const std::string& field : result.key) result.columns.push_back({field, field});
  result.columns.insert(result.columns.end(), {{"old_us", "old us", 1},
                                               {"new_us", "new us", 1},
                                               {"ratio", "ratio", 3},
                                               {"interval", "interval"},
                                               {"verdict", "verdict"}});
  result.worse = verdicts["slower"];
  const std::size_t all = result.rows.size();
  result.report.push_back(fmt::format("{} rows: {} slower, {} same, {} faster, by more than {:g} %",
                                      all, verdicts["slower"], verdicts["same"], verdicts["faster"],
                                      100 * allow));
  if (old["rows"].size() != all || fresh["rows"].size() != all)
    result.report.push_back(fmt::format("not in both: {} of the old rows, {} of the new",
                                        old["rows"].size() - all, fresh["rows"].size() - all));
  return result;
}

}  // namespace stepless::cli
