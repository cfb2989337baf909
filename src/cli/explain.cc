// stepless explain: which kernel runs a problem or a model's weights, what it should cost, why the
// others lost.
#include <iostream>

#include "base/error.hpp"
#include "base/json.hpp"
#include "cli/cli.hpp"
#include "cli/flags.hpp"
#include "stepless/plan.hpp"

namespace stepless::cli {
namespace {

struct ExplainFlags {
  ProblemSpec problem;
  std::vector<std::int64_t> m = {1};
  std::string machine, phase;
  bool no_transpose = false;
  ModelFlags model;
  OutputFlags output;
  std::int64_t batch = 1, context = 512, prompt = 0;
  int layer = -1, bits = 0, group_size = 0;
};

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
    if (json_indent(flags.output))
      all.push_back(parse_ordered_json(explain_problem(spec, true), "explain"));
    else
      std::cout << (first ? "" : "\n") << explain_problem(spec, false);
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
  app.add_option("--n", f->problem.n, "outputs")->check(CLI::PositiveNumber)->group(kGroup);
  app.add_option("--k", f->problem.k, "inputs")->check(CLI::PositiveNumber)->group(kGroup);
  app.add_option("--m", f->m, "rows of x, a list: 1,4,16")
      ->delimiter(',')
      ->check(CLI::PositiveNumber)
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
      ->check(CLI::PositiveNumber)
      ->group(kGroup);
  app.add_option("--context", f->context, "model: positions each sequence has read")
      ->check(CLI::NonNegativeNumber)
      ->group(kGroup);
  app.add_option("--prompt", f->prompt, "model: rows of a prefill step; adds its block")
      ->check(CLI::NonNegativeNumber)
      ->group(kGroup);
  app.add_option("--phase", f->phase, "model: decode or prefill only")
      ->check(CLI::IsMember({"decode", "prefill"}))
      ->group(kGroup);
  app.add_option("--layer", f->layer, "model: every weight of one layer in full")
      ->check(CLI::NonNegativeNumber)
      ->group(kGroup);
  refuse(app, "--measure", "measuring comes with bench; the figures are predictions");
  add_model_flags(app, f->model);
  add_output_flags(app, f->output);
  return [f] {
    const bool model = !f->model.model.empty() || !f->model.synthetic.empty();
    if (!model && (f->problem.n == 0 || f->problem.k == 0))
      throw ExitError(Exit::usage, ErrorCode::invalid_argument,
                      "explain: give --n and --k, or --model");
    if (!model) return explain_problem_command(*f);
    const Model opened = open_model(f->model, f->machine);
    const auto indent = json_indent(f->output);
    const std::string text =
        opened.explain(f->batch, f->context, f->prompt, f->phase, f->layer, indent.has_value());
    std::cout << (indent == -1 ? parse_ordered_json(text, "explain").dump() + "\n" : text);
    return Exit::done;
  };
}

}  // namespace stepless::cli
