// stepless bench gather: gather_qmm over tokens, experts and top-k, as mixtures of experts ask it.
#include "cli/bench/bench.hpp"
#include "cli/bench/lists.hpp"

namespace stepless::cli {
namespace {

// The experts of Qwen3-30B-A3B: gate and up, then down. --quick: one of them.
constexpr const char* kExpertShapes = "768x2048,2048x768";
constexpr const char* kQuickExpertShapes = "768x2048";
constexpr const char* kTokens = "1-64*2";
constexpr const char* kQuickTokens = "1,4,16";
constexpr const char* kExperts = "128";
constexpr const char* kTopK = "8";
constexpr int kGatherRepeats = 5;

std::vector<GatherCase> cases_of(const BenchFlags& flags) {
  const auto list = [](const std::string& given, const char* usual, const char* flag) {
    return parse_list(given_or(given, usual), flag);
  };
  std::vector<GatherCase> cases;
  for (const std::int64_t experts : list(flags.experts, kExperts, "--experts"))
    for (const std::int64_t top_k : list(flags.top_k, kTopK, "--top-k"))
      for (const std::int64_t tokens :
           list(flags.tokens, flags.quick ? kQuickTokens : kTokens, "--tokens"))
        cases.push_back({tokens, experts, top_k});
  return cases;
}

OrderedJson row_json(const GatherRow& row, bool warm) {
  OrderedJson json = {{"tokens", row.asked.tokens},
                      {"experts", row.asked.experts},
                      {"top_k", row.asked.top_k},
                      {"n", row.n},
                      {"k", row.k},
                      {"woken", row.woken},
                      {"format", row.format},
                      {"kernel", row.kernel},
                      {"cold", !warm}};
  add_times(json, row.us, row.disturbed);
  add_floor(json, row.bytes, row.flop, row.floor_us);
  return json;
}

}  // namespace

BenchResult bench_gather_qmm(const BenchFlags& flags) {
  BenchResult result;
  result.bench = "gather";
  result.columns = {{"tokens", "tokens", 0},
                    {"experts", "experts", 0},
                    {"top_k", "top-k", 0},
                    {"n", "n", 0},
                    {"k", "k", 0},
                    {"woken", "woken", 0},
                    {"kernel", "kernel"},
                    {"us", "us", 1},
                    {"gb_s", "GB/s", 2},
                    {"tflop_s", "TFLOP/s", 3},
                    {"floor_pct", "% floor", 0}};
  result.key = {"tokens", "experts", "top_k", "n", "k", "format"};
  Ceilings ceilings;
  for (const ProblemSpec& spec :
       specs_of(flags, flags.quick ? kQuickExpertShapes : kExpertShapes)) {
    const GatherBench bench = measured(
        flags, fmt::format("gather {}x{}", spec.n, spec.k), kGatherRepeats, ceilings, result,
        [&](const BenchOptions& options) { return bench_gather(spec, cases_of(flags), options); });
    for (const GatherRow& row : bench.rows) result.rows.push_back(row_json(row, flags.warm));
  }
  result.ceilings = ceilings_json(ceilings);
  return result;
}

}  // namespace stepless::cli
