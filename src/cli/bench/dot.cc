// stepless bench dot: dot products over k for each element type, beside what memory can give.
#include "cli/bench/bench.hpp"
#include "cli/bench/lists.hpp"

namespace stepless::cli {
namespace {

// conventions.md, section 3.
constexpr const char* kDotSizes = "1,16,256,4096,16384,131072,1000000,50000000";
constexpr const char* kQuickDotSizes = "1,256,4096,131072,1000000";
constexpr const char* kDotTypes = "float32,float16,bfloat16,complex64";
constexpr int kDotRepeats = 5;

/// f32 and the like are what rows of kernels call them.
std::string long_name(const std::string& type) {
  return type == "f32" ? "float32" : type == "f16" ? "float16" : type == "bf16" ? "bfloat16" : type;
}

OrderedJson row_json(const DotRow& row, bool warm) {
  OrderedJson json = {{"k", row.k},
                      {"dtype", row.dtype},
                      {"form", row.form},
                      {"kernel", row.kernel},
                      {"cold", !warm}};
  add_times(json, row.us, row.disturbed);
  add_floor(json, row.bytes, row.flop, row.floor_us);
  json["read_pct"] = row.read_pct;
  return json;
}

}  // namespace

BenchResult bench_dot(const BenchFlags& flags) {
  BenchResult result;
  result.bench = "dot";
  result.columns = {
      {"k", "k", 0},        {"dtype", "dtype"},     {"form", "form"},
      {"kernel", "kernel"}, {"us", "median us", 2}, {"us_min", "min", 2},
      {"us_max", "max", 2}, {"gb_s", "GB/s", 2},    {"read_pct", "% read ceiling", 0}};
  result.key = {"k", "dtype", "form"};
  const std::vector<std::int64_t> sizes =
      parse_list(given_or(flags.k, flags.quick ? kQuickDotSizes : kDotSizes), "--k");
  Ceilings ceilings;
  for (const std::string& type : parts_of(given_or(flags.dtype, kDotTypes))) {
    const DotBench bench = measured(
        flags, "dot " + type, kDotRepeats, ceilings, result,
        [&](const BenchOptions& options) { return bench_dots(sizes, long_name(type), options); });
    for (const DotRow& row : bench.rows) result.rows.push_back(row_json(row, flags.warm));
  }
  result.ceilings = ceilings_json(ceilings);
  return result;
}

}  // namespace stepless::cli
