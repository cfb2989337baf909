// stepless bench: measures operations and says what part of the machine's ceilings they reach.
#include "cli/bench/bench.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "cli/bench/report.hpp"
#include "cli/bench/scopes.hpp"

namespace stepless::cli {
namespace {

constexpr std::pair<const char*, Part> kParts[] = {
    {"ceilings", bench_ceilings}, {"qmm", bench_qmm},       {"gather", bench_gather_qmm},
    {"dot", bench_dot},           {"prompt", bench_prompt}, {"compare", bench_compare}};

std::vector<std::string> part_names() {
  std::vector<std::string> names;
  for (const auto& [name, part] : kParts) names.emplace_back(name);
  names.emplace_back("report");
  return names;
}

Exit run(const BenchFlags& flags, const Scopes& scopes) {
  if (!flags.files.empty() && flags.what != "compare" && flags.what != "report")
    usage_error(fmt::format("{}: not expected; bench {} takes flags", flags.files[0], flags.what));
  scopes.check(flags.what);
  if (flags.what == "report") return bench_report(flags);
  const auto at =
      std::ranges::find_if(kParts, [&](const auto& part) { return part.first == flags.what; });
  const Part part = at == std::end(kParts) ? bench_models : at->second;
  std::int64_t steps = 0;
  const Exit exit = run_bench(flags.result, flags.output, [&] {
    BenchResult result = part(flags);
    steps = result.steps;
    return result;
  });
  if (!flags.assert_no_step || steps == 0) return exit;
  std::cerr << fmt::format("error: --assert-no-step: {} step{}\n", steps, steps == 1 ? "" : "s");
  return Exit::check;
}

}  // namespace

Run attach_bench(CLI::App& app) {
  auto flags = std::make_shared<BenchFlags>();
  auto scopes = std::make_shared<Scopes>();
  app.add_option("what", flags->what,
                 "what to measure, instead of a model's table; compare two results; report on some")
      ->check(CLI::IsMember(part_names()))
      ->group("What");
  app.add_option("files", flags->files,
                 "compare: the older result and the newer, of -o json; report: any")
      ->type_name("FILE")
      ->group("What");
  add_bench_flags(app, *flags, *scopes);
  return [flags, scopes] { return run(*flags, *scopes); };
}

}  // namespace stepless::cli
