// The parts of stepless bench and what they share: flags, the run, the way out.
#pragma once
#include <string>
#include <vector>

#include "cli/bench/result.hpp"
#include "cli/bench/result_flags.hpp"
#include "cli/cli.hpp"
#include "cli/flags.hpp"
#include "cli/terminal.hpp"

namespace stepless::cli {

/// As the commands of cli/cli.hpp.
Run attach_bench(CLI::App& app);
Run attach_batch_bench(CLI::App& app);
Run attach_benchmark(CLI::App& app);

struct BenchFlags {
  std::string what;                // qmm, dot, ...
  std::vector<std::string> files;  // of compare and report
  OutputFlags output;
  ResultFlags result;
  std::string threads;  // a list; "": 1, of a model the physical cores
  int repeats = 0;
  bool warm = false, quick = false, assert_no_step = false, no_transpose = false;
  bool fast_int8 = false;
  std::string max_isa, kernel, save_machine;
  std::string model, models_dir, synthetic, device = "auto", act_dtype = "auto";
  std::string shapes, m, mode = "affine", dtype;  // dtype "": bfloat16; of dot: all
  std::string k, tokens, experts, top_k;          // lists; "": the part's own
  std::string prompt, gen, depth, variants;       // lists of the benches of a model
  std::string rows = "2048";
  std::int64_t batch_size = 2048, delay = 0;
  std::vector<std::string> pairs;  // -pg
  bool no_warmup = false;
  KvFlags kv;
  std::string allow = "3%";
  int bits = 0, group_size = 0;
};

/// What a part measures; its result is written by bench.cc.
using Part = BenchResult (*)(const BenchFlags& flags);
BenchResult bench_ceilings(const BenchFlags& flags);
BenchResult bench_qmm(const BenchFlags& flags);
BenchResult bench_gather_qmm(const BenchFlags& flags);
BenchResult bench_dot(const BenchFlags& flags);
BenchResult bench_models(const BenchFlags& flags);
BenchResult bench_prompt(const BenchFlags& flags);
BenchResult bench_compare(const BenchFlags& flags);

class Scopes;
void add_bench_flags(CLI::App& app, BenchFlags& flags, Scopes& scopes);

/// Options of a run with a progress bar; `repeats` when -r is not given.
BenchOptions options_of(const BenchFlags& flags, Progress& bar, int repeats);
/// The problems of --shapes, or of `shapes` without it.
std::vector<ProblemSpec> specs_of(const BenchFlags& flags, const std::string& shapes);
OrderedJson method_of(const BenchFlags& flags, const BenchOptions& options, int threads);

/// A flag's value, or what stands for none.
inline std::string given_or(const std::string& given, const char* usual) {
  return given.empty() ? usual : given;
}

/// One piece of a bench: `measure` is called with its options under a bar of this title; what it
/// saw of the ceilings joins those of the pieces before, and how it measured stands in `result`.
template <class Measure>
auto measured(const BenchFlags& flags, const std::string& title, int repeats, Ceilings& ceilings,
              BenchResult& result, Measure measure) {
  Progress bar(title, "samples", flags.output);
  const BenchOptions options = options_of(flags, bar, repeats);
  const auto bench = measure(options);
  bar.finish();
  merge(ceilings, bench.ceilings);
  result.method = method_of(flags, options, ceilings.threads);
  return bench;
}

}  // namespace stepless::cli
