// The flags of stepless bench, each with the parts that look at it.
#include <fmt/format.h>

#include "cli/bench/bench.hpp"
#include "cli/bench/lists.hpp"
#include "cli/bench/scopes.hpp"
#include "cli/terminal.hpp"

namespace stepless::cli {
namespace {

const std::vector<std::string> kMeasured = {"", "ceilings", "qmm", "gather", "dot", "prompt"};
/// Those that run a model as a whole.
const std::vector<std::string> kWhole = {"", "prompt"};

void add_run_flags(CLI::App& app, BenchFlags& f, Scopes& scopes) {
  constexpr const char* kGroup = "How to measure";
  scopes.add(app.add_option("-t,--threads", f.threads,
                            "threads; 0: the physical cores allowed; default: 1, of a model 0; a "
                            "list for a model's table"),
             kMeasured, kGroup);
  scopes.add(app.add_option("-r,--repeats", f.repeats,
                            "samples of each row; default: 5, qmm --quick 9, ceilings 25, prompt 1")
                 ->check(CLI::Range(1, 100000)),
             kMeasured, kGroup);
  scopes.add(app.add_flag("--quick", f.quick, "few shapes and rows: some seconds"),
             {"", "ceilings", "qmm", "gather", "dot"}, kGroup);
  scopes.add(app.add_option("--max-isa", f.max_isa, kMaxIsaHelp), kMeasured, kGroup);
  scopes.add(app.add_flag("--warm", f.warm, "one copy of what is read, which may stay in cache"),
             {"qmm", "gather", "dot"}, kGroup);
  scopes.add(app.add_option("--kernel", f.kernel,
                            "these kernels in turn instead of the planner's, e.g. A,B; see "
                            "docs/kernels.md"),
             {"qmm"}, kGroup);
  scopes.add(app.add_flag("--fast-int8", f.fast_int8, "kernels that round activations to 8 bits"),
             {"qmm"}, kGroup);
  scopes.add(app.add_flag("--assert-no-step", f.assert_no_step, "exit 6 when time has a step"),
             {"qmm"}, kGroup);
  scopes.add(
      app.add_option("--save-machine", f.save_machine, "write a profile for explain --machine FILE")
          ->type_name("FILE"),
      {"ceilings"}, kGroup);
  scopes.add(app.add_option("--delay", f.delay, "seconds of rest before each run")
                 ->check(whole_from("--delay", 0, 3600))
                 ->capture_default_str(),
             {""}, kGroup);
  scopes.add(app.add_flag("--no-warmup", f.no_warmup, "count the first run, too"), {""}, kGroup);
}

void add_test_flags(CLI::App& app, BenchFlags& f, Scopes& scopes) {
  constexpr const char* kGroup = "Tests of a model";
  scopes.add(app.add_option("-p,--n-prompt", f.prompt,
                            "tokens of a prompt, a list; 0: none; default: 512; prompt: 10049"),
             kWhole, kGroup);
  scopes.add(app.add_option("-n,--n-gen", f.gen,
                            "tokens drawn, a list; 0: none; default: 128; prompt: 32"),
             kWhole, kGroup);
  scopes.add(
      app.add_option("--pg", f.pairs, "-pg: PROMPT,GEN: both, one after the other; repeatable")
          ->allow_extra_args(false),
      {""}, kGroup);
  scopes.add(
      app.add_option("-d,--n-depth", f.depth, "positions in the cache before, a list; default: 0"),
      {""}, kGroup);
  scopes.add(app.add_option("-b,--batch-size", f.batch_size,
                            "prompt tokens computed together at most; the lesser of this and -ub")
                 ->check(whole_from("--batch-size", 1, 1 << 20))
                 ->capture_default_str(),
             {""}, kGroup);
  scopes.add(
      app.add_option("--prefill-step-size", f.rows, "prompt tokens computed together, a list")
          ->capture_default_str(),
      kWhole, kGroup);
  scopes.add(
      app.add_option("--variants", f.variants,
                     "ways to keep keys and values; default: kv=16,kv=8,kv=4,kv=4 window=256"),
      {"prompt"}, kGroup);
  add_kv_flags(app, f.kv);
  for (const char* name : {"--kv-bits", "--kv-group-size", "--quantized-kv-start", "--kv-window",
                           "--ctk", "--ctv", "--max-kv-size"})
    scopes.add(app.get_option(name), {""}, kMemoryGroup);
}

/// Where the model is and what runs it.
void add_bench_model_flags(CLI::App& app, BenchFlags& f, Scopes& scopes) {
  constexpr const char* kGroup = "Model and device";
  CLI::Option* model =
      app.add_option("-m,--model", f.model,
                     "folder, name or Hugging Face id, a list for the table; of qmm: its weights");
  model->type_name("MODEL");
  scopes.add(model, {"", "prompt", "qmm"}, kGroup);
  scopes.add(
      app.add_option("--synthetic", f.synthetic,
                     "random weights instead: qwen3-0.6b, llama-3.2-3b, qwen3-4b, qwen3-30b-a3b")
          ->excludes(model),
      kWhole, kGroup);
  scopes.add(app.add_option("--models-dir", f.models_dir, "one more folder to look for models in")
                 ->type_name("DIR"),
             {"", "prompt", "qmm"}, kGroup);
  scopes.add(app.add_option("--device", f.device,
                            "cpu, cuda:0 (or another GPU) or auto; -ngl 0 is cpu, -ngl 99 cuda")
                 ->capture_default_str(),
             kWhole, kGroup);
  scopes.add(
      app.add_option("--act-dtype", f.act_dtype, "activations: auto, float32, float16, bfloat16")
          ->check(CLI::IsMember({"auto", "float32", "float16", "bfloat16"}))
          ->capture_default_str(),
      kWhole, kGroup);
}

void add_problem_flags(CLI::App& app, BenchFlags& f, Scopes& scopes) {
  constexpr const char* kGroup = "Problem";
  const std::vector<std::string> packed = {"qmm", "gather"};
  CLI::Option* shapes =
      app.add_option("--shapes", f.shapes,
                     "weights n x k, e.g. 4096x4096,13824x5120; default: six of them; gather: two");
  CLI::Option* model = app.get_option("--model");
  shapes->excludes(model);
  CLI::Option* mode =
      app.add_option("--mode", f.mode, "affine, mxfp4, mxfp8 or nvfp4")->capture_default_str();
  CLI::Option* bits = app.add_option(
      "--bits", f.bits, "bits per weight; default: the mode's; qmm: 16 and 32: a dense weight");
  CLI::Option* group =
      app.add_option("--group-size", f.group_size, "weights per scale; default: the mode's");
  CLI::Option* dtype = app.add_option(
      "--dtype", f.dtype,
      "of x: float32, float16, bfloat16; default: bfloat16; dot: a list, with complex64; all four");
  CLI::Option* transpose =
      app.add_flag("--no-transpose", f.no_transpose, "y = x · w instead of x · wᵀ");
  for (CLI::Option* option : {mode, bits, group, dtype, transpose}) option->excludes(model);
  scopes.add(
      app.add_option("--m", f.m, "rows of x: 1,4,16 or 1-64 or 1-64+8 or 1-64*2; default: 1-64"),
      {"qmm"}, kGroup);
  scopes.add(shapes, packed, kGroup);
  for (CLI::Option* option : {mode, bits, group, transpose}) scopes.add(option, packed, kGroup);
  scopes.add(dtype, {"qmm", "gather", "dot"}, kGroup);
  scopes.add(app.add_option("--k", f.k,
                            "elements of a vector, a list; default: 1,16,256,4096,16384,131072,"
                            "1000000,50000000"),
             {"dot"}, kGroup);
  scopes.add(app.add_option("--tokens", f.tokens, "rows of x, a list; default: 1-64*2"), {"gather"},
             kGroup);
  scopes.add(
      app.add_option("--experts", f.experts, "matrices to choose from, a list; default: 128"),
      {"gather"}, kGroup);
  scopes.add(app.add_option("--top-k", f.top_k, "that each token meets, a list; default: 8"),
             {"gather"}, kGroup);
}

}  // namespace

void add_bench_flags(CLI::App& app, BenchFlags& flags, Scopes& scopes) {
  scopes.add(app.add_option("--allow", flags.allow, "what is still the same time, e.g. 3%")
                 ->capture_default_str(),
             {"compare"}, "What");
  add_bench_model_flags(app, flags, scopes);
  add_test_flags(app, flags, scopes);
  add_problem_flags(app, flags, scopes);
  add_run_flags(app, flags, scopes);
  add_output_flags(app, flags.output);
  add_result_flags(app, flags.result);
  for (const char* name : {"--svg", "--png"})
    scopes.add(app.get_option(name), {"", "qmm", "gather", "dot"}, "Output");
}

int one_thread_count(const BenchFlags& flags) {
  if (flags.threads.empty()) return 1;
  const std::vector<std::int64_t> all = parse_list(flags.threads, "--threads");
  if (all.size() != 1 || all[0] > 1024)
    usage_error(fmt::format("--threads {}: bench {} takes one count, up to 1024", flags.threads,
                            flags.what));
  return static_cast<int>(all[0]);
}

BenchOptions options_of(const BenchFlags& flags, Progress& bar, int repeats) {
  BenchOptions options;
  options.threads = one_thread_count(flags);
  options.rounds = flags.repeats > 0 ? flags.repeats : repeats;
  options.warm = flags.warm;
  options.max_isa = flags.max_isa;
  options.fast_int8 = flags.fast_int8;
  options.progress = [&bar](std::int64_t done, std::int64_t total) {
    // Drawing takes time and cache between two samples: some of them only.
    if (done % 16 == 0 || done == total) bar.update(done, total);
    return pending_signal() == 0;
  };
  return options;
}

std::vector<ProblemSpec> specs_of(const BenchFlags& flags, const std::string& shapes) {
  std::vector<ProblemSpec> specs;
  for (const auto& [n, k] :
       parse_shapes(flags.shapes.empty() ? shapes : flags.shapes, "--shapes")) {
    ProblemSpec spec;
    spec.n = n, spec.k = k;
    spec.mode = flags.mode, spec.dtype = flags.dtype.empty() ? "bfloat16" : flags.dtype;
    spec.transpose = !flags.no_transpose;
    if (flags.bits > 0) spec.bits = flags.bits;
    if (flags.group_size > 0) spec.group_size = flags.group_size;
    specs.push_back(spec);
  }
  return specs;
}

OrderedJson method_of(const BenchFlags& flags, const BenchOptions& options, int threads) {
  return {{"cold", !flags.warm},
          {"repeats", options.rounds},
          {"threads", threads},
          {"statistic", "median"},
          {"interleaved", true}};
}

}  // namespace stepless::cli
