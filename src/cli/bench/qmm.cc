// stepless bench qmm: time over m for each shape of a weight, and whether it has a step.
#include <fmt/format.h>

#include <algorithm>

#include "cli/bench/bench.hpp"
#include "cli/bench/lists.hpp"

namespace stepless::cli {
namespace {

// conventions.md, section 3. --quick: small enough for a demo, larger than the cache in rotation.
constexpr const char* kShapes = "5120x5120,1024x5120,13824x5120,5120x13824,2560x2560,4096x4096";
constexpr const char* kQuickShapes = "2560x2560,4096x4096";
constexpr const char* kRows = "1-64";
constexpr const char* kQuickRows = "1-16";
constexpr int kRepeats = 5, kQuickRepeats = 9;

std::vector<ProblemSpec> problems_of(const BenchFlags& flags) {
  if (flags.model.empty()) return specs_of(flags, flags.quick ? kQuickShapes : kShapes);
  ModelFlags model;
  model.model = flags.model, model.models_dir = flags.models_dir, model.threads = 1;
  return products_of(open_model(model, flags.output));
}

OrderedJson row_json(const ProductRow& row, const ProductRow& first, const BenchFlags& flags) {
  OrderedJson json = {{"n", row.n},           {"k", row.k},           {"m", row.m},
                      {"format", row.format}, {"kernel", row.kernel}, {"cold", !flags.warm}};
  add_times(json, row.us, row.disturbed);
  add_floor(json, row.bytes, row.flop, row.floor_us);
  json["m_over_m1"] = json["us"].get<double>() / summary_of(first.us).median;
  return json;
}

/// "13824x5120 b4 g64"; the mode where it is another, the kernel where several ran.
std::string name_of(const ProductRow& row, bool with_kernel) {
  const std::size_t space = row.format.find(' ');
  std::string format = row.format.substr(space + 1, row.format.rfind(' ') - space - 1);
  if (format.starts_with("affine ")) format = format.substr(7);
  return fmt::format("{}x{} {}{}", row.n, row.k, format, with_kernel ? " " + row.kernel : "");
}

std::string verdict_line(const std::string& name, const StepVerdict& v, std::int64_t knee) {
  std::string line = fmt::format("{}: flat {}..{}", name, v.least_m, v.flat_to);
  if (v.flat_most_m != v.least_m)
    line += fmt::format(" (max {:.2f} at m={})", v.flat_most, v.flat_most_m);
  line += fmt::format(", knee {}", knee);
  for (const CostStep& step : v.steps)
    line += fmt::format(", STEP m={}→{}: {:.2f} (floor {:.2f})", step.m, step.m + 1, step.ratio,
                        step.floor_ratio);
  if (!v.steps.empty()) return line;
  return line + (v.pairs > 0 ? ", no step" : ", no neighbours to judge");
}

/// Rows of a shape come kernel by kernel; a model may name one kernel for all.
void add_shape(BenchResult& result, const ProductBench& bench, const BenchFlags& flags,
               std::size_t kernels) {
  const std::size_t each = bench.rows.size() / kernels;
  for (std::size_t first = 0; first < bench.rows.size(); first += each) {
    const std::vector<ProductRow> rows(
        bench.rows.begin() + static_cast<std::ptrdiff_t>(first),
        bench.rows.begin() + static_cast<std::ptrdiff_t>(first + each));
    for (const ProductRow& row : rows) result.rows.push_back(row_json(row, rows[0], flags));
    const StepVerdict verdict = judge_steps(rows);
    result.steps += std::ssize(verdict.steps);
    result.report.push_back(verdict_line(name_of(rows[0], kernels > 1), verdict, bench.knee));
  }
}

}  // namespace

BenchResult bench_qmm(const BenchFlags& flags) {
  BenchResult result;
  result.bench = "qmm";
  result.model = flags.model;
  result.columns = {{"n", "n", 0},
                    {"k", "k", 0},
                    {"m", "m", 0},
                    {"kernel", "kernel"},
                    {"us", "us", 1},
                    {"gb_s", "GB/s", 2},
                    {"tflop_s", "TFLOP/s", 3},
                    {"floor_pct", "% floor", 0},
                    {"m_over_m1", "m/m1", 2}};
  const std::vector<std::int64_t> m =
      parse_list(given_or(flags.m, flags.quick ? kQuickRows : kRows), "--m");
  std::vector<std::string> kernels = parts_of(flags.kernel);
  const std::size_t arms = std::max<std::size_t>(kernels.size(), 1);
  result.key = {"n", "k", "m", "format"};  // what the planner chose may differ between two results
  if (arms > 1) result.key.emplace_back("kernel");
  Ceilings ceilings;
  for (const ProblemSpec& spec : problems_of(flags)) {
    const ProductBench bench = measured(flags, fmt::format("{}x{}", spec.n, spec.k),
                                        flags.quick ? kQuickRepeats : kRepeats, ceilings, result,
                                        [&](BenchOptions options) {
                                          options.kernels = kernels;
                                          return bench_products(spec, m, options);
                                        });
    add_shape(result, bench, flags, arms);
  }
  result.ceilings = ceilings_json(ceilings);
  return result;
}

}  // namespace stepless::cli
