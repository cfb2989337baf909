// stepless explain: which kernel runs a problem or a model's weights, what it should cost, why the
// others lost.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "base/error.hpp"
#include "base/json.hpp"
#include "cli/cli.hpp"
#include "cli/explain_measure.hpp"
#include "cli/flags.hpp"
#include "cli/settings.hpp"
#include "cli/terminal.hpp"
#include "stepless/plan.hpp"

namespace stepless::cli {
namespace {

struct ExplainFlags {
  ProblemSpec problem;
  std::vector<std::int64_t> m = {1};
  std::string machine, phase;
  bool no_transpose = false, measure = false;
  ModelFlags model;
  OutputFlags output;
  std::int64_t batch = 1, context = 512, prompt = 0;
  int layer = -1, bits = 0, group_size = 0;
};

/// Rows, outputs and inputs up to here have bytes and operations that 64 bits count.
constexpr std::int64_t kMostRows = std::int64_t{1} << 24;

void check_machine(const std::string& name) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(name, ignored)) return;  // bench ceilings --save-machine
  const std::vector<std::string> names = machine_names();
  if (!name.empty() && std::ranges::find(names, name) == names.end())
    usage_error(fmt::format("--machine {}: unknown; {}", name, fmt::join(names, ", ")));
}

/// Flags of a model say nothing about one product.
void check_problem_flags(const ExplainFlags& flags, const CLI::App& app) {
  if (flags.problem.n == 0 || flags.problem.k == 0)
    usage_error("explain: give --n and --k, or --model");
  check_device(flags.model);
  refuse_typed(app,
               {"--batch",
                "--context",
                "--prompt",
                "--phase",
                "--layer",
                "--act-dtype",
                "--models-dir",
                "--ctx-size",
                "--kv-cache-bytes",
                "--prefill-step-size",
                "--chat-template",
                "--chat-template-file",
                "--chat-template-config",
                "--use-default-chat-template",
                "--ignore-chat-template",
                "--trust-remote-code",
                "--kv-bits",
                "--kv-group-size",
                "--quantized-kv-start",
                "--kv-window",
                "--ctk",
                "--ctv",
                "--max-kv-size"},
               "tells of a model; give --model instead of --n and --k");
}

void check_model_flags(const ExplainFlags& flags, const CLI::App& app) {
  refuse_typed(app, {"--m", "--bits", "--group-size", "--mode", "--dtype", "--no-transpose"},
               "tells of one product, with --n and --k; a model has its own");
  refuse_typed(app, {"--kv-cache-bytes"}, "nothing is allocated to explain; leave it out");
  if (flags.phase == "decode") refuse_typed(app, {"--prompt"}, "--phase decode has no such rows");
  if (flags.layer >= 0)
    refuse_typed(app, {"--phase", "--prompt", "--context"},
                 "--layer shows its weights at --batch rows; give one of them");
  const std::int64_t most = std::max(flags.context, flags.prompt);
  if (flags.model.ctx_size > 0 && most > flags.model.ctx_size)
    usage_error(fmt::format("{} {}: --ctx-size is {}",
                            most == flags.prompt ? "--prompt" : "--context", most,
                            flags.model.ctx_size));
}

/// What --measure has to time for the tables, or for the blocks of a layer.
StepsToMeasure steps_of(const ExplainFlags& flags) {
  StepsToMeasure steps;
  steps.batch = flags.batch, steps.context = flags.context;
  steps.whole = flags.layer < 0;
  steps.decode = flags.phase != "prefill";
  if (flags.layer < 0 && flags.phase != "decode")
    steps.prompt = flags.prompt > 0 ? flags.prompt : flags.phase == "prefill" ? flags.context : 0;
  return steps;
}

Exit explain_problem_command(const ExplainFlags& flags) {
  ProblemSpec spec = flags.problem;
  spec.transpose = !flags.no_transpose;
  spec.machine = flags.machine;
  spec.threads = flags.model.threads;
  spec.max_isa = flags.model.max_isa;
  spec.kernel = flags.model.kernel;
  spec.fast_int8 = flags.model.fast_int8;
  if (flags.bits > 0) spec.bits = flags.bits;
  if (flags.group_size > 0) spec.group_size = flags.group_size;
  OrderedJson all = OrderedJson::array();
  bool first = true;
  for (const std::int64_t m : flags.m) {
    spec.m = m;
    const std::vector<double> us =
        flags.measure ? measure_problem(spec, flags.output) : std::vector<double>{};
    if (json_indent(flags.output))
      all.push_back(parse_ordered_json(explain_problem(spec, true, us), "explain"));
    else
      std::cout << (first ? "" : "\n") << explain_problem(spec, false, us);
    first = false;
  }
  if (const auto indent = json_indent(flags.output))
    std::cout << (all.size() == 1 ? all[0] : all).dump(*indent) << "\n";
  return Exit::done;
}

}  // namespace

Run attach_explain(CLI::App& app) {
  auto f = std::make_shared<ExplainFlags>();
  constexpr const char* kGroup = "Problem";
  CLI::Option* n = app.add_option("--n", f->problem.n, "outputs");
  CLI::Option* k = app.add_option("--k", f->problem.k, "inputs");
  n->check(whole_from("--n", 1, kMostRows))->group(kGroup);
  k->check(whole_from("--k", 1, kMostRows))->group(kGroup);
  app.add_option("--m", f->m, "rows of x, a list: 1,4,16")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(whole_from("--m", 1, kMostRows))
      ->group(kGroup);
  app.add_option("--bits", f->bits,
                 "bits per weight; default: the mode's; 16 and 32: a dense weight")
      ->group(kGroup);
  app.add_option("--group-size", f->group_size, "weights per scale; default: the mode's")
      ->group(kGroup);
  app.add_option("--mode", f->problem.mode, "affine, mxfp4, mxfp8 or nvfp4")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--dtype", f->problem.dtype, "type of x: float32, float16, bfloat16")
      ->capture_default_str()
      ->group(kGroup);
  app.add_flag("--no-transpose", f->no_transpose, "y = x · w instead of x · wᵀ")->group(kGroup);
  app.add_option("--machine", f->machine, "a known machine instead of this one")->group(kGroup);
  app.add_option("--batch", f->batch, "model: rows of a decode step")
      ->check(whole_from("--batch", 1, kMostRows))
      ->group(kGroup);
  app.add_option("--context", f->context, "model: positions each sequence has read")
      ->check(whole_from("--context", 0, kMostRows))
      ->group(kGroup);
  app.add_option("--prompt", f->prompt, "model: rows of a prefill step; adds its block")
      ->check(whole_from("--prompt", 0, kMostRows))
      ->group(kGroup);
  app.add_option("--phase", f->phase, "model: decode or prefill only")
      ->check(CLI::IsMember({"decode", "prefill"}))
      ->group(kGroup);
  app.add_option("--layer", f->layer, "model: every weight of one layer in full")
      ->check(CLI::NonNegativeNumber)
      ->group(kGroup);
  app.add_flag("--measure", f->measure, "measure it, too, and show both; of this machine only")
      ->group(kGroup);
  add_model_flags(app, f->model);
  for (CLI::Option* option : {n, k})
    option->excludes(app.get_option("--model"))->excludes(app.get_option("--synthetic"));
  add_output_flags(app, f->output);
  return [f, &app] {
    check_machine(f->machine);
    if (f->measure && !f->machine.empty())
      usage_error(
          fmt::format("--measure: {} is not this machine; leave out one of the two", f->machine));
    install_signal_handlers();
    if (f->model.model.empty() && f->model.synthetic.empty()) {
      check_problem_flags(*f, app);
      return explain_problem_command(*f);
    }
    check_model_flags(*f, app);
    const Model opened = open_model(f->model, f->output, f->machine);
    const auto indent = json_indent(f->output);
    const MeasuredModel measured =
        f->measure ? measure_model(opened, f->model, steps_of(*f), f->output) : MeasuredModel{};
    const std::string text = opened.explain(f->batch, f->context, f->prompt, f->phase, f->layer,
                                            indent.has_value(), f->measure ? &measured : nullptr);
    std::cout << (indent == -1 ? parse_ordered_json(text, "explain").dump() + "\n" : text);
    return Exit::done;
  };
}

}  // namespace stepless::cli
