// stepless::selftest: folders of fixtures, or this machine's kernels and the demo model.
#include "stepless/selftest.hpp"

#include <filesystem>

#include "api/golden_models.hpp"
#include "base/cpus.hpp"
#include "base/error.hpp"
#include "base/golden_report.hpp"

namespace stepless {
namespace {

struct Part {
  const char* name;
  GoldenReport (*run)(const std::string& dir, const ModelOptions& options);
};
constexpr Part kParts[] = {{"families", run_golden_families}, {"models", run_golden_models}};

}  // namespace

SelftestReport selftest(const SelftestOptions& options) {
  GoldenReport report;
  ModelOptions model;
  model.threads = options.threads > 0 ? options.threads : physical_cores();
  int done = 0, found = 0;
  for (const Part& part : kParts) {
    const std::string dir = options.golden + "/" + part.name;
    if (options.progress) options.progress(part.name, done++, static_cast<int>(std::size(kParts)));
    if (!std::filesystem::is_directory(dir)) continue;
    ++found;
    report.add(part.run(dir, model));
  }
  return {report.passed, report.failed, report.skipped, std::move(report.lines)};
}

}  // namespace stepless
