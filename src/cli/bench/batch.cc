// stepless batch-bench: llama.cpp's table of batched decoding, and requests of many lengths that
// come and go (--staggered).
#include <fmt/format.h>

#include <algorithm>

#include "base/error.hpp"
#include "cli/bench/batch_run.hpp"
#include "cli/bench/lists.hpp"
#include "cli/bench/model_bench.hpp"

namespace stepless::cli {
namespace {

struct BatchFlags {
  ModelFlags model;
  OutputFlags output;
  ResultFlags result;
  std::string prompts = "64,4096", gens = "128", batches = "1,2,4,8,16,32";
  bool shared = false, staggered = false;
  int repeats = 1;
  std::int64_t sequences = 32, least_input = 32, most_input = 64, least_output = 16,
               most_output = 64;
};

std::vector<std::int64_t> counts(const std::string& text, const char* flag) {
  const std::vector<std::int64_t> all = parse_list(text, flag);
  for (const std::int64_t each : all)
    if (each < 1 || each >= kMostTokens / 4096)
      usage_error(fmt::format("{} {}: from 1 to {}", flag, each, kMostTokens / 4096 - 1));
  return all;
}

class BatchBench {
 public:
  explicit BatchBench(const BatchFlags& flags)
      : flags_(flags),
        model_(open_model(flags.model, flags.output)),
        rows_(flags.model.prefill_step_size),
        gpu_(model_.info().device != "cpu"),
        bar_("batch-bench", "runs", flags.output) {}

  BenchResult run() {
    result_.model = flags_.model.model.empty() ? flags_.model.synthetic : flags_.model.model;
    if (gpu_) result_.gpu = gpu_name(model_), result_.report = {gpu_floor_note()};
    if (flags_.staggered)
      staggered();
    else
      together();
    bar_.finish();
    result_.method.update({{"repeats", flags_.repeats},
                           {"threads", flags_.model.threads},
                           {"prefill_step_size", rows_},
                           {"statistic", "median"},
                           {"tokens", "random"}});
    if (!gpu_) result_.ceilings = ceilings_json(ceilings_);
    return std::move(result_);
  }

 private:
  void measure_ceilings_once() {
    if (gpu_) return;
    BenchOptions options;
    options.threads = flags_.model.threads, options.rounds = 3;
    options.max_isa = flags_.model.max_isa;
    merge(ceilings_, measure_ceilings(options));
  }
  EngineOptions engine_options(EngineOptions options) const {
    const std::int64_t most =
        flags_.model.ctx_size > 0 ? flags_.model.ctx_size : model_.info().context;
    if (options.context > most)
      usage_error(fmt::format("batch-bench: sequences of {} tokens; {} has room for {}",
                              options.context, model_.info().name, most));
    if (!flags_.model.kv_cache_bytes.empty())
      options.kv_bytes = parse_bytes(flags_.model.kv_cache_bytes, "--kv-cache-bytes");
    return options;
  }
  void together();
  void staggered();
  OrderedJson row_of(const BatchCase& asked, const std::vector<BatchTimes>& times) const;

  const BatchFlags& flags_;
  Model model_;
  std::int64_t rows_;
  bool gpu_;
  Progress bar_;
  Ceilings ceilings_;
  BenchResult result_;
};

OrderedJson BatchBench::row_of(const BatchCase& asked, const std::vector<BatchTimes>& times) const {
  std::vector<double> prompt, gen, all;
  for (const BatchTimes& each : times) {
    prompt.push_back(each.prompt_s), gen.push_back(each.gen_s);
    all.push_back((each.prompt_s + each.gen_s) * 1e6);
  }
  const double t_pp = summary_of(prompt).median, t_tg = summary_of(gen).median;
  const auto tokens = static_cast<double>(asked.positions());
  const double drawn = static_cast<double>(asked.batch * asked.gen);
  const StepFloor pp = prompt_floor_of(model_, asked, rows_, ceilings_);
  const StepFloor tg = gen_floor_of(model_, asked, ceilings_);
  OrderedJson row = {{"pp", asked.prompt},
                     {"tg", asked.gen},
                     {"pl", asked.batch},
                     {"n_kv", asked.positions()},
                     {"t_pp", t_pp},
                     {"speed_pp", static_cast<double>(asked.prompt_tokens()) / t_pp},
                     {"t_tg", t_tg},
                     {"speed_tg", drawn / t_tg},
                     {"t", t_pp + t_tg},
                     {"speed", tokens / (t_pp + t_tg)},
                     {"speed_per_sequence", static_cast<double>(asked.gen) / t_tg},
                     {"is_pp_shared", asked.shared}};
  add_times(row, all, 0);
  row["gb_s"] = (pp.bytes + tg.bytes) / row["us"].get<double>() / 1e3;
  row["floor_us"] = pp.us + tg.us;
  row["pp_floor_pct"] = pp.us / t_pp / 1e4;
  row["tg_floor_pct"] = tg.us / t_tg / 1e4;
  return row;
}

void BatchBench::together() {
  result_.bench = "batch";
  result_.key = {"pp", "tg", "pl", "is_pp_shared"};
  result_.columns = {{"pp", "PP", 0},
                     {"tg", "TG", 0},
                     {"pl", "B", 0},
                     {"n_kv", "N_KV", 0},
                     {"t_pp", "T_PP s", 3},
                     {"speed_pp", "S_PP t/s", 2},
                     {"t_tg", "T_TG s", 3},
                     {"speed_tg", "S_TG t/s", 2},
                     {"t", "T s", 3},
                     {"speed", "S t/s", 2},
                     {"speed_per_sequence", "t/s per seq", 2},
                     {"pp_floor_pct", "% floor PP", 1},
                     {"tg_floor_pct", "% floor TG", 1}};
  std::vector<BatchCase> cases;
  for (const std::int64_t prompt : counts(flags_.prompts, "-npp"))
    for (const std::int64_t gen : counts(flags_.gens, "-ntg"))
      for (const std::int64_t batch : counts(flags_.batches, "-npl"))
        cases.push_back({prompt, gen, batch, flags_.shared});
  const std::int64_t total = std::ssize(cases) * flags_.repeats;
  std::int64_t done = 0;
  std::vector<OrderedJson> rows;
  std::vector<std::vector<BatchTimes>> times(cases.size());
  for (std::size_t at = 0; at < cases.size(); ++at) {
    EngineRun engine(model_, engine_options(batch_options(cases[at], rows_)));
    check_batch(cases[at], engine, rows_);
    const BatchCase little = {std::min<std::int64_t>(cases[at].prompt, 16), 1, 1, false};
    time_batch(engine, model_, little, rows_, 0);  // warms up
    for (int repeat = 0; repeat < flags_.repeats; ++repeat) {
      measure_ceilings_once();
      times[at].push_back(
          time_batch(engine, model_, cases[at], rows_, static_cast<std::uint64_t>(repeat) + 1));
      bar_.update(++done, total);
    }
  }
  for (std::size_t at = 0; at < cases.size(); ++at)
    result_.rows.push_back(row_of(cases[at], times[at]));
}

void BatchBench::staggered() {
  result_.bench = "staggered";
  result_.key = {"pl", "num_seqs"};
  result_.columns = {{"pl", "B", 0},
                     {"num_seqs", "sequences", 0},
                     {"prompt_tokens", "prompt tokens", 0},
                     {"gen_tokens", "generated", 0},
                     {"t", "T s", 3},
                     {"speed", "S t/s", 2},
                     {"speed_gen", "generated t/s", 2}};
  result_.method = {{"min_input_len", flags_.least_input},
                    {"max_input_len", flags_.most_input},
                    {"min_output_len", flags_.least_output},
                    {"max_output_len", flags_.most_output}};
  const auto length = [](std::int64_t least, std::int64_t most, std::uint64_t seed) {
    return least + random_tokens(1, most - least + 1, seed)[0];
  };
  const std::vector<std::int64_t> batches = counts(flags_.batches, "-npl");
  std::int64_t done = 0;
  for (const std::int64_t batch : batches) {
    if (flags_.sequences < batch)
      usage_error(fmt::format("--num-seqs {}: fewer than the {} of -npl that run at once",
                              flags_.sequences, batch));
    EngineOptions options;
    options.context = flags_.most_input + flags_.most_output + 1;
    options.sequences = batch, options.prefill_rows = rows_;
    options.prefix_reuse = false;
    EngineRun engine(model_, engine_options(options));
    OrderedJson row = {{"pl", batch}, {"num_seqs", flags_.sequences}};
    std::vector<double> us;
    std::int64_t prompt = 0, gen = 0;
    for (int repeat = 0; repeat < flags_.repeats; ++repeat) {
      measure_ceilings_once();
      std::vector<Ask> asks;
      prompt = gen = 0;
      for (std::int64_t i = 0; i < flags_.sequences; ++i) {
        // The same lengths in every row and repeat, so that their times compare.
        const auto seed = static_cast<std::uint64_t>(2 * i);
        const std::int64_t input = length(flags_.least_input, flags_.most_input, seed);
        const std::int64_t output = length(flags_.least_output, flags_.most_output, seed + 1);
        asks.push_back({random_tokens(input, model_.info().vocab, seed), output});
        prompt += input, gen += output;
      }
      double last = 0;
      for (const Told& told : engine.run(asks, batch)) last = std::max(last, told.at.back());
      us.push_back(last * 1e6);
      bar_.update(++done, std::ssize(batches) * flags_.repeats);
    }
    add_times(row, us, 0);
    const double t = row["us"].get<double>() / 1e6;
    row["prompt_tokens"] = prompt, row["gen_tokens"] = gen, row["t"] = t;
    row["speed"] = static_cast<double>(prompt + gen) / t;
    row["speed_gen"] = static_cast<double>(gen) / t;
    result_.rows.push_back(std::move(row));
  }
}

void add_lengths(CLI::App& app, BatchFlags& f) {
  constexpr const char* kGroup = "Staggered";
  CLI::Option* staggered = app.add_flag(
      "--staggered", f.staggered, "requests of many lengths through the scheduler, -npl at once");
  staggered->group(kGroup);
  const auto add = [&](const char* name, std::int64_t& value, const char* text) {
    app.add_option(name, value, text)
        ->check(whole_from(name, 1, 1 << 20))
        ->capture_default_str()
        ->needs(staggered)
        ->group(kGroup);
  };
  add("--num-seqs", f.sequences, "requests in all");
  add("--min-input-len", f.least_input, "tokens of the shortest prompt");
  add("--max-input-len", f.most_input, "of the longest");
  add("--min-output-len", f.least_output, "tokens of the shortest answer");
  add("--max-output-len", f.most_output, "of the longest");
}

Exit run(const BatchFlags& flags) {
  if (flags.staggered && !(flags.result.svg.empty() && flags.result.png.empty()))
    usage_error("--staggered: there is no plot of it; --html has its table");
  if (flags.least_input > flags.most_input)
    usage_error(fmt::format("--min-input-len {}: above --max-input-len {}", flags.least_input,
                            flags.most_input));
  if (flags.least_output > flags.most_output)
    usage_error(fmt::format("--min-output-len {}: above --max-output-len {}", flags.least_output,
                            flags.most_output));
  return run_bench(flags.result, flags.output, [&] { return BatchBench(flags).run(); });
}

}  // namespace

Run attach_batch_bench(CLI::App& app) {
  auto flags = std::make_shared<BatchFlags>();
  constexpr const char* kGroup = "Batches";
  flags->model.prefill_step_size = 2048;
  CLI::Option* prompts =
      app.add_option("--npp", flags->prompts, "-npp: tokens of a prompt, a list");
  CLI::Option* gens = app.add_option("--ntg", flags->gens, "-ntg: tokens drawn behind it, a list");
  CLI::Option* batches = app.add_option("--npl", flags->batches, "-npl: sequences at once, a list");
  CLI::Option* shared = app.add_flag("--pps", flags->shared, "-pps: one prompt for all sequences");
  for (CLI::Option* option : {prompts, gens, batches}) option->capture_default_str();
  for (CLI::Option* option : {prompts, gens, batches, shared}) option->group(kGroup);
  app.add_option("-r,--repeats", flags->repeats, "runs of each row, of which the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(kGroup);
  add_lengths(app, *flags);
  for (CLI::Option* option : {prompts, gens, shared})
    option->excludes(app.get_option("--staggered"));
  add_device_flags(app, flags->model, "-m,--model");
  add_memory_flags(app, flags->model);
  add_output_flags(app, flags->output);
  add_result_flags(app, flags->result);
  return [flags] { return run(*flags); };
}

}  // namespace stepless::cli
