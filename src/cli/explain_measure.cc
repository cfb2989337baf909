#include "cli/explain_measure.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/measure.hpp"
#include "cli/bench/engine_run.hpp"
#include "cli/terminal.hpp"

namespace stepless::cli {
namespace {

constexpr int kRuns = 5;
constexpr std::int64_t kSteps = 16;  // of decode, behind the first

/// As `asked`, a ProblemSpec or a model's flags, has it planned.
template <class Asked>
BenchOptions measured_as(const Asked& asked, Progress& bar) {
  BenchOptions options;
  options.threads = asked.threads, options.rounds = kRuns, options.max_isa = asked.max_isa;
  options.fast_int8 = asked.fast_int8;
  if (!asked.kernel.empty()) options.kernels = {asked.kernel};
  options.progress = [&bar](std::int64_t done, std::int64_t total) {
    bar.update(done, total);
    return pending_signal() == 0;
  };
  return options;
}

/// A step with one row of each sequence, its context in the cache: from the moment where all draw.
double decode_us(EngineRun& engine, const Model& model, std::int64_t batch, std::int64_t context,
                 std::int64_t rows) {
  const std::int64_t stagger = (batch * context + rows - 1) / rows + 2;
  std::vector<Ask> asks;
  for (std::int64_t i = 0; i < batch; ++i)
    asks.push_back({random_tokens(std::max<std::int64_t>(context, 1), model.info().vocab,
                                  static_cast<std::uint64_t>(i)),
                    kSteps + stagger});
  const std::vector<Told> told = engine.run(asks);
  double from = 0;
  for (const Told& each : told) from = std::max(from, each.at[0]);
  std::vector<double> us;
  const std::vector<double>& last =
      std::ranges::max_element(told, {}, [](const Told& each) { return each.at[0]; })->at;
  for (std::size_t i = 1; i <= static_cast<std::size_t>(kSteps); ++i)
    us.push_back((last[i] - last[i - 1]) * 1e6);
  return summary_of(us).median;
}

}  // namespace

std::vector<double> measure_problem(const ProblemSpec& spec, const OutputFlags& output) {
  Progress bar("measure", "samples", output);
  const ProductBench bench = bench_products(spec, {spec.m}, measured_as(spec, bar));
  bar.finish();
  return bench.rows[0].us;
}

MeasuredModel measure_model(const Model& model, const ModelFlags& flags,
                            const StepsToMeasure& steps, const OutputFlags& output) {
  MeasuredModel measured;
  const auto add_products = [&](const StepShape& step) {
    for (const StepProduct& product : products_of_step(model, step)) {
      Progress bar(fmt::format("{}x{}", product.spec.n, product.spec.k), "samples", output);
      const ProductBench bench =
          bench_products(product.spec, {product.spec.m}, measured_as(flags, bar));
      bar.finish();
      measured.products.push_back(
          {product.spec.m, product.spec.n, product.spec.k, product.format, bench.rows[0].us});
    }
  };
  if (model.info().device == "cpu") {  // on a GPU whole steps are all there is to measure
    if (steps.decode) add_products({.sequences = steps.batch, .sampled = steps.batch});
    if (steps.prompt > 0) add_products({.rows = steps.prompt});
  }
  if (!steps.whole) return measured;
  EngineOptions options;
  const std::int64_t rows = model.info().step_rows;
  options.context = std::max(steps.decode ? steps.context : 0, steps.prompt) + 2 * kSteps +
                    (steps.batch * steps.context + rows - 1) / rows + 2;
  options.context = std::min(options.context, model.info().context);
  options.sequences = steps.batch, options.prefill_rows = rows, options.prefix_reuse = false;
  EngineRun engine(model, options);
  if (steps.decode) measured.decode_us = decode_us(engine, model, steps.batch, steps.context, rows);
  if (steps.prompt == 0) return measured;
  std::vector<double> us;
  for (std::uint64_t run = 0; run < 3; ++run)
    us.push_back(engine.run({{random_tokens(steps.prompt, model.info().vocab, run), 1}})[0].at[0] *
                 1e6);
  measured.prefill_us = summary_of(us).median;
  return measured;
}

}  // namespace stepless::cli
