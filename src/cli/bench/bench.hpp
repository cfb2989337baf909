// The parts of stepless bench and what they share: flags, the run, the way out.
#pragma once
#include <string>
#include <vector>

#include "cli/bench/result.hpp"
#include "cli/cli.hpp"
#include "cli/flags.hpp"
#include "cli/terminal.hpp"

namespace stepless::cli {

/// As the commands of cli/cli.hpp.
Run attach_bench(CLI::App& app);

struct BenchFlags {
  std::string what;                // qmm, ceilings, ...
  std::vector<std::string> files;  // of compare and report
  OutputFlags output;
  std::string format;  // -o; "": md, or what --json and --jsonl say
  int threads = 1, repeats = 0;
  bool warm = false, quick = false, assert_no_step = false, no_transpose = false;
  std::string max_isa, kernel, save_machine;
  std::string model, models_dir;
  std::string shapes, m, mode = "affine", dtype = "bfloat16";
  std::string allow = "3%";
  int bits = 0, group_size = 0;
};

/// What a part measures; its result is written by bench.cc.
using Part = BenchResult (*)(const BenchFlags& flags);
BenchResult bench_ceilings(const BenchFlags& flags);
BenchResult bench_qmm(const BenchFlags& flags);
BenchResult bench_compare(const BenchFlags& flags);

/// Options of a run with a progress bar; `repeats` when -r is not given.
BenchOptions options_of(const BenchFlags& flags, Progress& bar, int repeats);

}  // namespace stepless::cli
