// explain --measure, and explain --machine with a profile. No time is judged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Finished stepless(std::vector<std::string> words) {
  return run_program(STEPLESS_BINARY, {std::move(words), {}, "", 0});
}

TEST(ExplainMeasure, SetsATimeBesideThePrediction) {
  const Finished text =
      stepless({"explain", "-t", "1", "--n", "64", "--k", "128", "--m", "2", "--measure"});
  ASSERT_EQ(text.exit, 0) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("\nmeasured  "), HasSubstr(" runs, "),
                              HasSubstr("predicted/measured "), Not(HasSubstr("measured  –"))));
  const Finished json = stepless(
      {"explain", "-t", "1", "--n", "64", "--k", "128", "--m", "1,2", "--measure", "--json"});
  const OrderedJson blocks = parse_ordered_json(json.out, "output");
  ASSERT_EQ(blocks.size(), 2u);
  for (const OrderedJson& block : blocks) {
    EXPECT_GT(block["measured_us"].get<double>(), 0);
    EXPECT_LE(block["measured_us_min"], block["measured_us"]);
    EXPECT_EQ(block["measured_runs"], 5);
  }
  const Finished other = stepless(
      {"explain", "--n", "64", "--k", "128", "--measure", "--machine", "server_avx512bf16"});
  EXPECT_EQ(other.exit, 2);
  EXPECT_THAT(other.err, HasSubstr("not this machine"));
}

TEST(ExplainMeasure, MeasuresProductsAndWholeStepsOfAModel) {
  const std::string model = models_dir() + "/tale-draft-4bit";
  const Finished done =
      stepless({"explain", "-t", "1", "--model", model, "--device", "cpu", "--batch", "2",
                "--context", "20", "--prompt", "16", "--measure", "--json"});
  ASSERT_EQ(done.exit, 0) << done.err;
  const OrderedJson phases = parse_ordered_json(done.out, "output");
  ASSERT_EQ(phases.size(), 2u);
  for (const OrderedJson& phase : phases) {
    EXPECT_GT(phase["measured_us"].get<double>(), 0);
    int products = 0;
    for (const OrderedJson& op : phase["ops"])
      if (op["shape"].get<std::string>().find("×") != std::string::npos) {
        ++products;
        EXPECT_GT(op["measured_us"].is_null() ? 0 : op["measured_us"].get<double>(), 0) << op;
      }
    EXPECT_GT(products, 3);
  }
  const Finished layer = stepless(
      {"explain", "-t", "1", "--model", model, "--device", "cpu", "--layer", "0", "--measure"});
  ASSERT_EQ(layer.exit, 0) << layer.err;
  EXPECT_THAT(layer.out, Not(HasSubstr("measured  –")));
}

TEST(ExplainMachine, TakesAProfileForAModelToo) {
  const std::string profile = scratch_dir("explain_machine") + "/machine.json";
  ASSERT_EQ(stepless({"bench", "ceilings", "-r", "2", "--save-machine", profile}).exit, 0);
  const Finished done =
      stepless({"explain", "-t", "1", "--model", models_dir() + "/tale-draft-4bit", "--machine",
                profile, "--batch", "2"});
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr("decode, batch 2"));
}

}  // namespace
}  // namespace stepless::test
