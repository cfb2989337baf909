// stepless::selftest: folders of fixtures, or this machine's kernels and the demo model.
#include "stepless/selftest.hpp"

#include <algorithm>
#include <filesystem>

#include "api/device.hpp"
#include "api/golden_models.hpp"
#include "api/golden_text.hpp"
#include "api/model_state.hpp"
#include "api/selftest_kernels.hpp"
#include "base/cpus.hpp"
#include "base/error.hpp"
#include "ops/golden_ops.hpp"
#include "runtime/forward.hpp"
#include "stepless/plan.hpp"

namespace stepless {
namespace {

GoldenReport run_ops(const std::string& dir, const ModelOptions& options) {
  Context context(options.threads);
  return run_golden_ops(context, dir);
}

GoldenReport run_models(const std::string& dir, const ModelOptions& options) {
  return run_golden_models(dir, options, Windows::all);
}

struct Part {
  const char* name;
  GoldenReport (*run)(const std::string& dir, const ModelOptions& options);
};
constexpr Part kParts[] = {{"ops", run_ops},
                           {"samplers", run_golden_samplers},
                           {"tokenizers", run_golden_tokenizers},
                           {"templates", run_golden_templates},
                           {"families", run_golden_families},
                           {"models", run_models}};

GoldenReport run_folder(const SelftestOptions& options, const ModelOptions& model) {
  GoldenReport report;
  int done = 0, found = 0;
  for (const Part& part : kParts) {
    const std::string dir = options.golden + "/" + part.name;
    if (options.progress) options.progress(part.name, done++, static_cast<int>(std::size(kParts)));
    if (!std::filesystem::is_directory(dir)) continue;
    ++found;
    report.guard(part.name, [&] { report.add(part.run(dir, model)); });
  }
  if (found == 0)
    fail(ErrorCode::not_found,
         "{}: no fixtures; a folder with ops, samplers, tokenizers, templates, families or models",
         options.golden);
  return report;
}

// tale-4bit's greedy continuation of "Once upon a time there was a king", from a float64 forward
// pass.
constexpr std::int32_t kDemoPrompt[] = {2870, 701, 261, 536, 447, 310, 261, 648};
constexpr std::int32_t kDemoText[] = {
    419, 310, 519, 2842, 292, 351, 16,   503, 310, 519, 661,  2523, 369, 262, 2039, 319,
    280, 310, 357, 261,  442, 14,  378,  280, 310, 519, 2842, 292,  351, 14,  272,  280,
    310, 519, 661, 2523, 369, 262, 2039, 292, 329, 808, 3254, 16,   503, 310, 519,  661};

std::string check_demo(const Model& model) {
  Forward forward(model.state()->loaded, make_backend(*model.state()), 64);
  std::vector<float> logits = forward.append(kDemoPrompt, 1);
  int index = 0;
  for (const std::int32_t want : kDemoText) {
    const auto token =
        static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    if (token != want) return fmt::format("token {} is {}; expected {}", index, token, want);
    logits = forward.append(std::span(&token, 1), 1);
    ++index;
  }
  return "";
}

/// The demo model writes the same text in float32 whatever instruction set runs it.
GoldenReport run_demo(const std::string& folder, const ModelOptions& on_device, int threads) {
  GoldenReport report;
  for (const std::string& isa : usable_isas()) {
    ModelOptions options;
    options.act_dtype = "float32";
    options.threads = threads;
    options.max_isa = isa;
    options.device = "cpu";
    report.run("demo model, " + isa, [&] { return check_demo(Model::open(folder, options)); });
  }
  if (!choose_gpu(on_device)) return report;
  ModelOptions options = on_device;
  options.act_dtype = "float32";
  report.run("demo model, GPU", [&] { return check_demo(Model::open(folder, options)); });
  return report;
}

}  // namespace

SelftestReport selftest(const SelftestOptions& options) {
  ModelOptions model;
  model.device = options.device;
  model.threads = options.threads > 0 ? options.threads : physical_cores();
  GoldenReport report;
  if (!options.golden.empty()) {
    if (!std::filesystem::is_directory(options.golden))
      fail(ErrorCode::not_found, "{}: no such folder", options.golden);
    report = run_folder(options, model);
  } else {
    report = run_selftest_kernels(model.threads, options.quick);
    if (options.demo.empty())
      report.skip("demo model: not installed");
    else
      report.add(run_demo(options.demo, model, model.threads));
  }
  return {report.passed, report.failed, report.skipped, std::move(report.lines)};
}

}  // namespace stepless
