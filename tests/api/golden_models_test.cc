// Logits and greedy texts against float64 references: the demo models always, every variant and
// family where the shared folder is there. And that the runner can fail.
#include "api/golden_models.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "base/json.hpp"
#include "dispatch/machine.hpp"
#include "tests/support/paths.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;

ModelOptions one_thread(const std::string& isa = "") {
  ModelOptions options;
  options.threads = 1;
  options.max_isa = isa;
  return options;
}

std::string lines_of(const GoldenReport& report) {
  std::string all;
  for (const std::string& line : report.lines) all += line + "\n";
  return all;
}

TEST(GoldenModels, TheDemoUnderEveryInstructionSet) {
  for (const Isa isa : this_machine(1).isas) {
    const std::string name(to_string(isa));
    const GoldenReport report = run_golden_models(golden_dir() + "/models", one_thread(name));
    EXPECT_EQ(report.passed, 2 * 2 * 2) << name;  // models, activation types, prompts
    EXPECT_EQ(report.failed + report.skipped, 0) << name << "\n" << lines_of(report);
  }
}

TEST(GoldenModels, EveryVariantOfTheTale) {
  const auto shared = shared_dir();
  if (!shared) GTEST_SKIP() << "no shared folder";
  const std::string dir = *shared + "/golden/models";
  const auto variants = static_cast<int>(read_json(dir + "/index.json").size());
  EXPECT_GE(variants, 10);
  const GoldenReport report = run_golden_models(dir, one_thread(), Windows::few);
  EXPECT_EQ(report.passed, variants * 2 * (3 + 1)) << "two types; three prompts, perplexity";
  EXPECT_EQ(report.failed + report.skipped, 0) << lines_of(report);
}

TEST(GoldenModels, EveryFamily) {
  const auto shared = shared_dir();
  if (!shared) GTEST_SKIP() << "no shared folder";
  const std::string dir = *shared + "/golden/families";
  const auto families = static_cast<int>(read_json(dir + "/index.json").size());
  EXPECT_GE(families, 20);
  const GoldenReport report = run_golden_families(dir, one_thread());
  EXPECT_EQ(report.passed, families * 4) << "two types, two sequences";
  EXPECT_EQ(report.failed + report.skipped, 0) << lines_of(report);
}

/// The committed fixtures with one thing changed; what the runner says of them.
GoldenReport run_changed(const std::string& name, const std::function<void(Json&)>& change) {
  const std::string dir = scratch_dir("golden-" + name);
  const std::string from = golden_dir() + "/models/";
  Json index = Json::array({{{"name", "draft"},
                             {"checkpoint", fs::relative(models_dir() + "/tale-draft-4bit", dir)},
                             {"reference", "r.json"}}});
  Json reference = read_json(from + "tale-draft-4bit.reference.json");
  change(reference);
  std::ofstream(dir + "/index.json") << index.dump();
  std::ofstream(dir + "/r.json") << reference.dump();
  for (const char* file : {"tale-draft-4bit", "tale-4bit"})
    fs::copy_file(from + file + ".reference.safetensors",
                  dir + "/" + file + ".reference.safetensors",
                  fs::copy_options::overwrite_existing);
  return run_golden_models(dir, one_thread());
}

TEST(GoldenModels, TheRunnerCanFail) {
  EXPECT_EQ(run_changed("same", [](Json&) {}).passed, 4);
  const GoldenReport greedy =
      run_changed("greedy", [](Json& r) { r["prompts"][0]["greedy"][0] = 5; });
  EXPECT_EQ(greedy.failed, 2);
  EXPECT_EQ(greedy.passed, 2);
  EXPECT_NE(lines_of(greedy).find("FAILED models/draft float32 p0: greedy token 0 is "),
            std::string::npos)
      << lines_of(greedy);
  // Another model's logits.
  const GoldenReport logits =
      run_changed("logits", [](Json& r) { r["tensors"] = "tale-4bit.reference.safetensors"; });
  EXPECT_EQ(logits.failed, 4);
  EXPECT_NE(lines_of(logits).find("relative error"), std::string::npos) << lines_of(logits);
  const GoldenReport tight =
      run_changed("tight", [](Json& r) { r["tolerance"]["float32_rel"] = 1e-12; });
  EXPECT_EQ(tight.failed, 2);
}

TEST(GoldenModels, FixturesThatContradictThemselvesFail) {
  const GoldenReport beyond =
      run_changed("beyond", [](Json& r) { r["prompts"][1]["ids"][2] = 4096; });
  EXPECT_EQ(beyond.failed, 2) << lines_of(beyond);
  EXPECT_NE(lines_of(beyond).find("token 4096"), std::string::npos) << lines_of(beyond);
  EXPECT_EQ(run_changed("margin", [](Json& r) { r["prompts"][0]["margin"] = {0.1}; }).failed, 2);
  EXPECT_EQ(run_changed("more", [](Json& r) { r["prompts"].push_back(r["prompts"][0]); }).failed,
            2);
}

}  // namespace
}  // namespace stepless::test
