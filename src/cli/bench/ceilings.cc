// stepless bench ceilings: what this machine does at best, and a profile of it for explain.
#include <fmt/format.h>

#include <fstream>

#include "cli/bench/bench.hpp"
#include "cli/version.hpp"

namespace stepless::cli {
namespace {

constexpr int kSamples = 25, kQuickSamples = 7;

void save(const std::string& path, const Ceilings& ceilings) {
  std::string name = cpu_name();
  if (name.empty()) name = "this machine";
  const std::string source =
      fmt::format("stepless bench ceilings -t {}, {}, {}, {}", ceilings.threads, name,
                  version_json()["commit"].get<std::string>(), today());
  std::ofstream file(path, std::ios::binary);
  file << machine_profile(ceilings, source);
  file.close();
  if (!file)
    throw ExitError(Exit::failed, ErrorCode::not_found,
                    "--save-machine " + path + ": cannot be written");
}

void append(std::vector<double>& to, const std::vector<double>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

}  // namespace

void merge(Ceilings& all, const Ceilings& more) {
  if (all.read_gb_s.empty()) {
    all = more;
    return;
  }
  append(all.read_gb_s, more.read_gb_s), append(all.read_all_gb_s, more.read_all_gb_s);
  append(all.f32_gflop_s, more.f32_gflop_s), append(all.bf16_gflop_s, more.bf16_gflop_s);
  append(all.int16_gop_s, more.int16_gop_s), append(all.int8_gop_s, more.int8_gop_s);
  append(all.region_us, more.region_us);
}

BenchResult bench_ceilings(const BenchFlags& flags) {
  // explain tells a file from a name by these.
  const std::string& path = flags.save_machine;
  if (!path.empty() && path.find('/') == std::string::npos && !path.ends_with(".json"))
    usage_error("--save-machine " + path +
                ": not a name that explain --machine takes for a file; "
                "one that ends in .json, or has a /");
  Progress bar("ceilings", "samples", flags.output);
  const BenchOptions options = options_of(flags, bar, flags.quick ? kQuickSamples : kSamples);
  const Ceilings ceilings = measure_ceilings(options);
  bar.finish();
  BenchResult result;
  result.bench = "ceilings";
  result.method = {{"repeats", options.rounds},
                   {"threads", ceilings.threads},
                   {"statistic", "median"},
                   {"interleaved", true}};
  result.ceilings = ceilings_json(ceilings);
  result.columns = {{"ceiling", "ceiling"}, {"threads", "threads", 0}, {"loop", "loop"},
                    {"unit", "unit"},       {"median", "median", 2},   {"min", "min", 2},
                    {"max", "max", 2}};
  result.key = {"ceiling", "threads"};
  const auto add = [&](const char* what, int threads, const std::string& loop, const char* unit,
                       const std::vector<double>& samples) {
    if (samples.empty()) return;
    const Summary s = summary_of(samples);
    result.rows.push_back({{"ceiling", what},
                           {"threads", threads},
                           {"loop", loop},
                           {"unit", unit},
                           {"median", s.median},
                           {"min", s.min},
                           {"max", s.max},
                           {"spread_pct", 100 * s.spread()},
                           {"noisy", s.spread() > kMostSpread}});
  };
  add("read", 1, "cold memory", "GB/s", ceilings.read_gb_s);
  if (ceilings.threads > 1) {
    add("read", ceilings.threads, "cold memory", "GB/s", ceilings.read_all_gb_s);
    add("region", ceilings.threads, "an empty body", "us", ceilings.region_us);
  }
  add("f32", 1, ceilings.f32_isa, "GFLOP/s", ceilings.f32_gflop_s);
  add("bf16", 1, ceilings.bf16_isa, "GFLOP/s", ceilings.bf16_gflop_s);
  add("int16", 1, ceilings.int16_isa, "GOP/s", ceilings.int16_gop_s);
  add("int8", 1, ceilings.int8_isa, "GOP/s", ceilings.int8_gop_s);
  if (!path.empty()) save(path, ceilings);
  return result;
}

}  // namespace stepless::cli
