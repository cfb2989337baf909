// stepless selftest: does this build compute on this machine what the contract says?
#include <fmt/format.h>

#include <iostream>

#include "base/json.hpp"
#include "cli/cli.hpp"
#include "cli/locate.hpp"
#include "cli/log.hpp"
#include "cli/terminal.hpp"
#include "stepless/selftest.hpp"

namespace stepless::cli {
namespace {

struct SelftestFlags {
  SelftestOptions options;
  OutputFlags output;
};

Exit run(SelftestFlags& flags) {
  if (flags.options.golden.empty()) {
    try {
      flags.options.demo = locate_model("demo", "");
    } catch (const Error&) {
      note("the demo model is not installed; its digest is not checked");
    }
  }
  Progress bar("selftest", "parts", flags.output);
  flags.options.progress = [&](const std::string&, int done, int total) {
    bar.update(done, total);
  };
  const SelftestReport report = selftest(flags.options);
  bar.finish();
  if (const auto indent = json_indent(flags.output)) {
    const OrderedJson json = {{"passed", report.passed},
                              {"failed", report.failed},
                              {"skipped", report.skipped},
                              {"lines", report.lines}};
    std::cout << json.dump(*indent, ' ', false, OrderedJson::error_handler_t::replace) << "\n";
  } else {
    for (const std::string& line : report.lines)
      if (!flags.output.quiet || line.starts_with("FAILED")) std::cout << line << "\n";
    std::cout << fmt::format("{} passed, {} failed, {} skipped\n", report.passed, report.failed,
                             report.skipped);
  }
  return report.failed == 0 ? Exit::done : Exit::check;
}

}  // namespace

Run attach_selftest(CLI::App& app) {
  auto flags = std::make_shared<SelftestFlags>();
  constexpr const char* kGroup = "What to check";
  app.add_option("--golden", flags->options.golden,
                 "a folder of fixtures instead of this machine's kernels")
      ->group(kGroup);
  app.add_option("--device", flags->options.device, "what runs the models: cpu, cuda:0 or auto")
      ->capture_default_str()
      ->group(kGroup);
  app.add_flag("--quick", flags->options.quick, "fewer shapes per kernel")->group(kGroup);
  app.add_option("-t,--threads", flags->options.threads, "threads; 0: the physical cores allowed")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str()
      ->group(kGroup);
  add_output_flags(app, flags->output);
  return [flags] { return run(*flags); };
}

}  // namespace stepless::cli
