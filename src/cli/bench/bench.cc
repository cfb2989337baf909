// stepless bench: measures operations and says what part of the machine's ceilings they reach.
#include "cli/bench/bench.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>

namespace stepless::cli {
namespace {

constexpr const char* kMeasured[] = {"ceilings", "qmm"};
constexpr std::pair<const char*, Part> kParts[] = {
    {"ceilings", bench_ceilings}, {"qmm", bench_qmm}, {"compare", bench_compare}};

std::vector<std::string> part_names() {
  std::vector<std::string> names;
  for (const auto& [name, part] : kParts) names.emplace_back(name);
  return names;
}

/// A flag and the parts of bench that it is for.
struct Scoped {
  CLI::Option* option;
  std::vector<std::string> parts;
};

class Scopes {
 public:
  void add(CLI::Option* option, std::vector<std::string> parts, const char* group) {
    option->group(group);
    all_.push_back({option, std::move(parts)});
  }
  /// A flag typed for a part that has no use for it is an error; one that the environment or the
  /// config file sets is for the parts that have.
  void check(const std::string& what) const {
    const std::vector<std::string> words = command_words();
    for (const Scoped& flag : all_) {
      if (std::ranges::find(flag.parts, what) != flag.parts.end()) continue;
      for (const std::string& word : words)
        if (names(*flag.option, word))
          usage_error(fmt::format("{}: no flag of bench {}; it belongs to bench {}", word, what,
                                  fmt::join(flag.parts, ", ")));
    }
  }

 private:
  static bool names(const CLI::Option& option, const std::string& word) {
    for (const std::string& name : option.get_lnames())
      if (word == "--" + name || word.starts_with("--" + name + "=")) return true;
    return std::ranges::any_of(option.get_snames(), [&](const std::string& name) {
      return word.starts_with("-" + name) && !word.starts_with("--");
    });
  }
  std::vector<Scoped> all_;
};

std::string format_of(const BenchFlags& flags) {
  if (!flags.format.empty()) return flags.format;
  return flags.output.json ? "json" : flags.output.jsonl ? "jsonl" : "md";
}

Exit finish(const BenchFlags& flags, const BenchResult& result) {
  std::cout << written(result, format_of(flags)) << std::flush;
  if (flags.assert_no_step && result.steps > 0) {
    std::cerr << fmt::format("error: --assert-no-step: {} step{}\n", result.steps,
                             result.steps == 1 ? "" : "s");
    return Exit::check;
  }
  if (result.worse > 0) {
    std::cerr << fmt::format("error: bench compare: {} slower\n", result.worse);
    return Exit::check;
  }
  return Exit::done;
}

Exit run(const BenchFlags& flags, const Scopes& scopes) {
  if (flags.what.empty())
    usage_error(fmt::format("bench: of what? one of {}; the table of a model is not there yet",
                            fmt::join(part_names(), ", ")));
  if (!flags.files.empty() && flags.what != "compare")
    usage_error(fmt::format("{}: not expected; bench {} takes flags", flags.files[0], flags.what));
  scopes.check(flags.what);
  install_signal_handlers();
  try {
    const auto at =
        std::ranges::find_if(kParts, [&](const auto& part) { return part.first == flags.what; });
    return finish(flags, at->second(flags));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::cancelled) throw;
    std::cerr << "interrupted: " << error.what() << "\n";
    return pending_signal() == 15 ? Exit::terminated : Exit::interrupted;
  }
}

void add_run_flags(CLI::App& app, BenchFlags& f, Scopes& scopes) {
  constexpr const char* kGroup = "How to measure";
  const std::vector<std::string> all(std::begin(kMeasured), std::end(kMeasured));
  scopes.add(app.add_option("-t,--threads", f.threads,
                            "threads; 0: the physical cores allowed. One is the primary figure")
                 ->check(CLI::Range(0, 1024))
                 ->capture_default_str(),
             all, kGroup);
  scopes.add(app.add_option("-r,--repeats", f.repeats,
                            "samples of each row; default: 5, qmm --quick 9, ceilings 25")
                 ->check(CLI::Range(1, 100000)),
             all, kGroup);
  scopes.add(app.add_flag("--quick", f.quick, "few shapes and rows: some seconds"), all, kGroup);
  scopes.add(app.add_option("--max-isa", f.max_isa,
                            "use no instruction set beyond: cpu, avx2, avx512, avx512bf16"),
             all, kGroup);
  scopes.add(app.add_flag("--warm", f.warm, "one copy of the weights, which may stay in cache"),
             {"qmm"}, kGroup);
  scopes.add(app.add_option("--kernel", f.kernel,
                            "these kernels in turn instead of the planner's, e.g. A,B; see "
                            "docs/kernels.md"),
             {"qmm"}, kGroup);
  scopes.add(app.add_flag("--assert-no-step", f.assert_no_step, "exit 6 when time has a step"),
             {"qmm"}, kGroup);
  scopes.add(
      app.add_option("--save-machine", f.save_machine, "write a profile for explain --machine FILE")
          ->type_name("FILE"),
      {"ceilings"}, kGroup);
}

void add_problem_flags(CLI::App& app, BenchFlags& f, Scopes& scopes) {
  constexpr const char* kGroup = "Problem";
  const auto add = [&](CLI::Option* option) { scopes.add(option, {"qmm"}, kGroup); };
  CLI::Option* shapes = app.add_option(
      "--shapes", f.shapes, "weights n x k, e.g. 4096x4096,13824x5120; default: six of them");
  CLI::Option* model = app.add_option("-m,--model", f.model, "the weights of a model instead");
  model->type_name("MODEL")->excludes(shapes);
  CLI::Option* mode =
      app.add_option("--mode", f.mode, "affine, mxfp4, mxfp8 or nvfp4")->capture_default_str();
  CLI::Option* bits = app.add_option(
      "--bits", f.bits, "bits per weight; default: the mode's; 16 and 32: a dense weight");
  CLI::Option* group =
      app.add_option("--group-size", f.group_size, "weights per scale; default: the mode's");
  CLI::Option* dtype =
      app.add_option("--dtype", f.dtype, "of x: float32, float16, bfloat16")->capture_default_str();
  CLI::Option* transpose =
      app.add_flag("--no-transpose", f.no_transpose, "y = x · w instead of x · wᵀ");
  for (CLI::Option* option : {mode, bits, group, dtype, transpose}) option->excludes(model);
  add(app.add_option("--m", f.m, "rows of x: 1,4,16 or 1-64 or 1-64+8 or 1-64*2; default: 1-64"));
  for (CLI::Option* option : {shapes, model, mode, bits, group, dtype, transpose}) add(option);
  add(app.add_option("--models-dir", f.models_dir, "one more folder to look for models in")
          ->type_name("DIR"));
}

}  // namespace

BenchOptions options_of(const BenchFlags& flags, Progress& bar, int repeats) {
  BenchOptions options;
  options.threads = flags.threads;
  options.rounds = flags.repeats > 0 ? flags.repeats : repeats;
  options.warm = flags.warm;
  options.max_isa = flags.max_isa;
  options.progress = [&bar](std::int64_t done, std::int64_t total) {
    // Drawing takes time and cache between two samples: some of them only.
    if (done % 16 == 0 || done == total) bar.update(done, total);
    return pending_signal() == 0;
  };
  return options;
}

Run attach_bench(CLI::App& app) {
  auto flags = std::make_shared<BenchFlags>();
  auto scopes = std::make_shared<Scopes>();
  app.add_option("what", flags->what, "what to measure; or compare, of two results")
      ->check(CLI::IsMember(part_names()))
      ->group("What");
  app.add_option("files", flags->files, "compare: the older result and the newer, of -o json")
      ->type_name("FILE")
      ->group("What");
  scopes->add(app.add_option("--allow", flags->allow, "what is still the same time, e.g. 3%")
                  ->capture_default_str(),
              {"compare"}, "What");
  add_problem_flags(app, *flags, *scopes);
  add_run_flags(app, *flags, *scopes);
  add_output_flags(app, flags->output);
  app.add_option("-o,--output", flags->format, "md, csv, json or jsonl; default: md")
      ->check(CLI::IsMember({"md", "csv", "json", "jsonl"}))
      ->excludes(app.get_option("--json"))
      ->excludes(app.get_option("--jsonl"))
      ->group("Output");
  return [flags, scopes] { return run(*flags, *scopes); };
}

}  // namespace stepless::cli
