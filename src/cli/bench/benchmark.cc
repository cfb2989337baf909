// stepless benchmark: mlx_lm.benchmark's flags and words.
#include <fmt/format.h>

#include <iostream>
#include <numeric>

#include "base/memory.hpp"
#include "cli/bench/batch_run.hpp"
#include "cli/bench/model_bench.hpp"

namespace stepless::cli {
namespace {

struct BenchmarkFlags {
  ModelFlags model;
  OutputFlags output;
  std::int64_t prompt = 512, gen = 1024, batch = 1, trials = 5;
};

/// mlx's figures of one trial.
struct Trial {
  double prompt_tps = 0, generation_tps = 0, peak_memory = 0, total_time = 0;
};

std::string trial_text(const Trial& trial) {
  return fmt::format(
      "prompt_tps={:.3f}, generation_tps={:.3f}, peak_memory={:.3f}, total_time={:.3f}",
      trial.prompt_tps, trial.generation_tps, trial.peak_memory, trial.total_time);
}

OrderedJson trial_json(const Trial& trial) {
  return {{"prompt_tps", trial.prompt_tps},
          {"generation_tps", trial.generation_tps},
          {"peak_memory_gb", trial.peak_memory},
          {"total_time_s", trial.total_time}};
}

Trial averages_of(const std::vector<Trial>& trials) {
  Trial sum;
  for (const Trial& trial : trials) {
    sum.prompt_tps += trial.prompt_tps, sum.generation_tps += trial.generation_tps;
    sum.peak_memory += trial.peak_memory, sum.total_time += trial.total_time;
  }
  const auto count = static_cast<double>(trials.size());
  return {sum.prompt_tps / count, sum.generation_tps / count, sum.peak_memory / count,
          sum.total_time / count};
}

void measure(const BenchmarkFlags& flags, std::vector<Trial>& trials) {
  const bool text = !json_indent(flags.output);
  const BatchCase asked = {flags.prompt, flags.gen, flags.batch, false};
  const std::int64_t rows = flags.model.prefill_step_size;
  const Model model = open_model(flags.model, flags.output);
  EngineOptions options = batch_options(asked, rows);
  if (options.context > model.info().context)
    usage_error(fmt::format("benchmark: sequences of {} tokens; {} was trained with {}",
                            options.context, model.info().name, model.info().context));
  if (!flags.model.kv_cache_bytes.empty())
    options.kv_bytes = parse_bytes(flags.model.kv_cache_bytes, "--kv-cache-bytes");
  EngineRun engine(model, options);
  check_batch(asked, engine, rows);
  if (text) std::cout << "Running warmup.." << std::endl;
  time_batch(engine, model, {std::min<std::int64_t>(flags.prompt, 64), 1, flags.batch, false}, rows,
             0);
  if (text)
    std::cout << fmt::format("Timing with prompt_tokens={}, generation_tokens={}, batch_size={}.\n",
                             flags.prompt, flags.gen, flags.batch)
              << std::flush;
  for (std::int64_t trial = 1; trial <= flags.trials; ++trial) {
    const BatchTimes times =
        time_batch(engine, model, asked, rows, static_cast<std::uint64_t>(trial));
    trials.push_back({static_cast<double>(asked.prompt_tokens()) / times.prompt_s,
                      static_cast<double>(flags.batch * flags.gen) / times.gen_s,
                      static_cast<double>(peak_resident_bytes()) / 1e9,
                      times.prompt_s + times.gen_s});
    if (text)
      std::cout << fmt::format("Trial {}:  {}\n", trial, trial_text(trials.back())) << std::flush;
  }
}

Exit run(const BenchmarkFlags& flags) {
  install_signal_handlers();
  std::vector<Trial> trials;
  try {
    measure(flags, trials);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::cancelled) throw;
    std::cerr << "interrupted: " << error.what() << "\n";
    return pending_signal() == 15 ? Exit::terminated : Exit::interrupted;
  }
  const Trial averages = averages_of(trials);
  if (const auto indent = json_indent(flags.output)) {
    OrderedJson json = {{"prompt_tokens", flags.prompt},
                        {"generation_tokens", flags.gen},
                        {"batch_size", flags.batch},
                        {"trials", OrderedJson::array()},
                        {"averages", trial_json(averages)}};
    for (const Trial& trial : trials) json["trials"].push_back(trial_json(trial));
    std::cout << json.dump(*indent) << "\n";
  } else {
    std::cout << "Averages: " << trial_text(averages) << "\n";
  }
  return Exit::done;
}

}  // namespace

Run attach_benchmark(CLI::App& app) {
  auto flags = std::make_shared<BenchmarkFlags>();
  constexpr const char* kGroup = "Trials";
  flags->model.prefill_step_size = 2048;
  const auto add = [&](const char* names, std::int64_t& value, std::uint64_t most,
                       const char* text) {
    const std::string all = names;
    app.add_option(all, value, text)
        ->check(whole_from(all.substr(all.find(',') + 1), 1, most))
        ->capture_default_str()
        ->group(kGroup);
  };
  add("-p,--prompt-tokens", flags->prompt, kMostTokens / 4096, "random tokens of a prompt");
  add("-g,--generation-tokens", flags->gen, kMostTokens / 4096, "tokens drawn behind it");
  add("-b,--batch-size", flags->batch, 4096, "sequences at once");
  add("-n,--num-trials", flags->trials, 1000, "trials");
  add_device_flags(app, flags->model, "--model");
  add_memory_flags(app, flags->model);
  add_output_flags(app, flags->output);
  return [flags] { return run(*flags); };
}

}  // namespace stepless::cli
