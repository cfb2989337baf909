// stepless bench: llama-bench's table. Each test is a request of random tokens on an engine, timed
// by the events of its tokens: pp512 from sending to the first token, tg128 from the first to the
// 129th.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

#include "base/error.hpp"
#include "cli/bench/engine_run.hpp"
#include "cli/bench/lists.hpp"
#include "cli/bench/model_bench.hpp"
#include "cli/version.hpp"
#include "stepless/plan.hpp"

namespace stepless::cli {
namespace {

constexpr int kTestRepeats = 5, kQuickTestRepeats = 3, kCeilingRounds = 3;

struct Test {
  std::int64_t prompt = 0, gen = 0, depth = 0;
  std::string name() const {
    std::string text = prompt > 0 ? fmt::format("pp{}", prompt) : "";
    if (gen > 0) text += fmt::format("{}tg{}", text.empty() ? "" : "+", gen);
    return depth > 0 ? fmt::format("{} @ d{}", text, depth) : text;
  }
  std::int64_t tokens() const { return prompt + gen; }
  /// Positions before the first row that counts; a request has one token of prompt at least.
  std::int64_t before_decode() const { return std::max<std::int64_t>(depth + prompt, 1); }
};

std::pair<std::int64_t, std::int64_t> prompt_and_gen(const std::string& text) {
  const std::vector<std::string> parts = parts_of(text);
  if (parts.size() != 2) usage_error("--pg " + text + ": not PROMPT,GEN; e.g. 512,128");
  const std::int64_t prompt = parse_list(parts[0], "--pg")[0],
                     gen = parse_list(parts[1], "--pg")[0];
  if (prompt < 1 || gen < 1) usage_error("--pg " + text + ": counts from 1 on; e.g. 512,128");
  return {prompt, gen};
}

std::vector<Test> tests_of(const BenchFlags& flags) {
  const auto list = [&](const std::string& given, const char* usual, const char* flag) {
    return parse_list(given.empty() ? usual : given, flag);
  };
  std::vector<Test> tests;
  for (const std::int64_t depth : list(flags.depth, "0", "--n-depth")) {
    for (const std::int64_t n : list(flags.prompt, flags.quick ? "64" : "512", "--n-prompt"))
      if (n > 0) tests.push_back({n, 0, depth});
    for (const std::int64_t n : list(flags.gen, flags.quick ? "16" : "128", "--n-gen"))
      if (n > 0) tests.push_back({0, n, depth});
    for (const std::string& pair : flags.pairs) {
      const auto [prompt, gen] = prompt_and_gen(pair);
      tests.push_back({prompt, gen, depth});
    }
  }
  if (tests.empty()) usage_error("bench: no test; -p, -n or -pg above 0");
  for (const Test& test : tests)
    if (test.tokens() + test.depth >= kMostTokens)
      usage_error(fmt::format("{}: more than {} tokens", test.name(), kMostTokens));
    else if (test.prompt > 0 && test.depth % kKvPageTokens != 0)
      usage_error(
          fmt::format("--n-depth {}: what lies before a prompt is kept in pages of {} "
                      "positions; a multiple of that, or -p 0",
                      test.depth, kKvPageTokens));
  return tests;
}

/// A model opened for so many threads and rows, its tests, and what they took.
class Instance {
 public:
  Instance(const BenchFlags& flags, ModelFlags opened, std::vector<Test> tests)
      : flags_(flags),
        opened_(std::move(opened)),
        tests_(std::move(tests)),
        model_(open_model(opened_, flags.output)),
        engine_(model_, engine_options()),
        us_(tests_.size()) {}

  /// One sample of one test. Its tokens differ from those of other samples and tests, whose pages
  /// would be found again.
  void run(std::size_t at, std::uint64_t sample, bool counts) {
    const Test& test = tests_[at];
    const std::int64_t vocab = model_.info().vocab;
    const std::vector<std::int32_t> before = random_tokens(test.depth, vocab, 1);
    if (test.depth > 0 && test.prompt > 0) engine_.run({{before, 1}});
    std::vector<std::int32_t> tokens = before;
    const std::uint64_t seed = sample * tests_.size() + at + 2;
    const auto more = random_tokens(test.before_decode() - test.depth, vocab, seed);
    tokens.insert(tokens.end(), more.begin(), more.end());
    const std::int64_t draws = counts ? test.gen + 1 : std::min<std::int64_t>(test.gen, 1) + 1;
    const Told told = engine_.run({{tokens, draws}})[0];
    if (test.prompt > 0 && told.cached != test.depth)
      throw ExitError(Exit::usage, ErrorCode::unsupported,
                      fmt::format("{}: {} of {} positions before the prompt were kept; "
                                  "prompts of this model or cache are not reused: --n-depth 0",
                                  test.name(), told.cached, test.depth));
    if (!counts) return;
    const double from = test.prompt > 0 ? told.sent : told.at[0];
    us_[at].push_back((told.at[static_cast<std::size_t>(test.gen)] - from) * 1e6);
  }

  void measure_ceilings_once() {
    if (on_gpu()) return;
    BenchOptions options;
    options.threads = opened_.threads, options.rounds = kCeilingRounds;
    options.max_isa = opened_.max_isa;
    merge(ceilings_, measure_ceilings(options));
  }

  bool on_gpu() const { return model_.info().device != "cpu"; }
  const Ceilings& ceilings() const { return ceilings_; }
  std::size_t count() const { return tests_.size(); }
  std::string gpu() const { return on_gpu() ? gpu_name(model_) : ""; }
  OrderedJson row(std::size_t at) const;

 private:
  EngineOptions engine_options() const {
    EngineOptions options;
    for (const Test& test : tests_)
      options.context = std::max(options.context, test.before_decode() + test.gen + 1);
    if (options.context > model_.info().context)
      usage_error(fmt::format("bench: tests of {} tokens; {} was trained with {}", options.context,
                              model_.info().name, model_.info().context));
    options.prefill_rows = opened_.prefill_step_size;
    return options;
  }
  StepFloor floor_of(const Test& test) const {
    StepFloor sum;
    if (test.prompt > 0)
      sum = prompt_floor(model_, 1, test.depth, test.prompt, opened_.prefill_step_size, ceilings_);
    if (test.gen > 0) {
      const StepFloor decode = decode_floor(model_, 1, test.before_decode(), test.gen, ceilings_);
      sum.bytes += decode.bytes, sum.us += decode.us;
    }
    return sum;
  }

  const BenchFlags& flags_;
  ModelFlags opened_;
  std::vector<Test> tests_;
  Model model_;
  EngineRun engine_;
  std::vector<std::vector<double>> us_;
  Ceilings ceilings_;
};

OrderedJson Instance::row(std::size_t at) const {
  const Test& test = tests_[at];
  OrderedJson row = model_columns(model_, opened_);
  row["n_batch"] = opened_.prefill_step_size, row["n_ubatch"] = opened_.prefill_step_size;
  row["n_prompt"] = test.prompt, row["n_gen"] = test.gen, row["n_depth"] = test.depth;
  row["test"] = test.name();
  row["test_time"] = now_text();
  add_rates(row, us_[at], test.tokens());
  add_times(row, us_[at], 0);
  const StepFloor floor = floor_of(test);
  const double us = row["us"].get<double>();
  row["gb_s"] = floor.bytes / us / 1e3;
  row["floor_us"] = floor.us;
  row["floor_pct"] = 100 * floor.us / us;
  return row;
}

/// One per model, threads and rows, as llama-bench orders them.
std::vector<ModelFlags> openings(const BenchFlags& flags) {
  std::vector<std::string> models = parts_of(flags.model);
  const bool synthetic = models.empty();
  if (synthetic) models = parts_of(flags.synthetic);
  if (models.empty())
    usage_error(
        "bench: of what? -m MODEL, --synthetic SHAPE, or one of qmm, gather, dot, ceilings, "
        "prompt, compare");
  const std::int64_t batch = flags.batch_size;
  std::vector<ModelFlags> all;
  for (const std::string& model : models)
    for (const std::int64_t threads :
         parse_list(flags.threads.empty() ? "0" : flags.threads, "--threads"))
      for (const std::int64_t rows : parse_list(flags.rows, "--prefill-step-size")) {
        ModelFlags one = opened_as(flags);
        (synthetic ? one.synthetic : one.model) = model;
        one.threads = thread_count(threads);
        if (rows < 1 || rows > (1 << 20))
          usage_error(fmt::format("--prefill-step-size {}: from 1 to {}", rows, 1 << 20));
        one.prefill_step_size = std::min(rows, batch);
        all.push_back(one);
      }
  return all;
}

void measure(const BenchFlags& flags, Instance& instance, Progress& bar, std::int64_t& done,
             std::int64_t total, int repeats) {
  const auto each = [&](std::uint64_t sample, bool counts) {
    if (counts) instance.measure_ceilings_once();
    for (std::size_t at = 0; at < instance.count(); ++at) {
      if (flags.delay > 0) std::this_thread::sleep_for(std::chrono::seconds(flags.delay));
      instance.run(at, sample, counts);
      bar.update(++done, total);
    }
  };
  if (!flags.no_warmup) each(0, false);
  for (int sample = 1; sample <= repeats; ++sample) each(static_cast<std::uint64_t>(sample), true);
}

std::vector<Column> columns_of(const BenchFlags& flags, bool gpu) {
  std::vector<Column> columns = {{"model_type", "model"},
                                 {"model_size", "size", 2, size_text},
                                 {"model_n_params", "params", 2, params_text},
                                 {"backends", "backend"}};
  if (gpu)
    columns.push_back({"n_gpu_layers", "ngl", 0});
  else
    columns.push_back({"n_threads", "threads", 0});
  if (parse_list(flags.rows, "--prefill-step-size").size() > 1)
    columns.push_back({"n_ubatch", "n_ubatch", 0});
  if (kv_options_of(flags.kv).quantized()) {
    columns.push_back({"type_k", "type_k"});
    columns.push_back({"type_v", "type_v"});
  }
  columns.insert(columns.end(), {{"test", "test", 0, test_text},
                                 {"avg_ts", "t/s", 2, rate_text},
                                 {"gb_s", "GB/s", 2},
                                 {"floor_pct", "% floor", 1}});
  return columns;
}

}  // namespace

BenchResult bench_models(const BenchFlags& flags) {
  const std::vector<Test> tests = tests_of(flags);
  const std::vector<ModelFlags> all = openings(flags);
  const int repeats = flags.repeats > 0 ? flags.repeats
                      : flags.quick     ? kQuickTestRepeats
                                        : kTestRepeats;
  BenchResult result;
  result.bench = "models";
  result.model = flags.model.empty() ? flags.synthetic : flags.model;
  result.key = {"model_type", "type_k", "n_threads", "n_ubatch", "test"};
  Progress bar("bench", "tests", flags.output);
  const std::int64_t total = std::ssize(all) * std::ssize(tests) * (repeats + !flags.no_warmup);
  std::int64_t done = 0;
  for (const ModelFlags& opened : all) {
    Instance instance(flags, opened, tests);
    measure(flags, instance, bar, done, total, repeats);
    for (std::size_t at = 0; at < tests.size(); ++at) result.rows.push_back(instance.row(at));
    result.gpu = instance.gpu();
    if (result.ceilings.is_null() && !instance.on_gpu())
      result.ceilings = ceilings_json(instance.ceilings());
    if (instance.on_gpu()) result.report = {gpu_floor_note()};
  }
  bar.finish();
  result.method = {{"repeats", repeats},
                   {"warmup", !flags.no_warmup},
                   {"statistic", "average"},
                   {"interleaved", true},
                   {"tokens", "random"}};
  result.columns = columns_of(flags, !result.gpu.empty());
  return result;
}

}  // namespace stepless::cli
