// --fast-int8 at the edge: it prints the error it measures, and nothing uses it unasked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/isa.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {

using testing::HasSubstr;
using testing::Not;

Finished run(std::vector<std::string> arguments) {
  return run_program(STEPLESS_BINARY, {std::move(arguments), {}, "", 0});
}

std::vector<std::string> generate(std::vector<std::string> more) {
  std::vector<std::string> all = {"generate", "--model",      models_dir() + "/tale-4bit",
                                  "--device", "cpu",          "--prompt",
                                  "Once",     "--max-tokens", "4"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(FastInt8, PrintsTheErrorItMeasures) {
  if (!runs_here(Isa::avx2)) GTEST_SKIP() << "no kernel of 8-bit activations runs here";
  const Finished done = run(generate({"--fast-int8"}));
  EXPECT_EQ(done.exit, 0) << done.err;
  const std::string words = "fast-int8: activations are rounded to 8 bits; error of products ";
  const std::size_t at = done.err.find(words);
  ASSERT_NE(at, std::string::npos) << done.err;
  const double error = std::stod(done.err.substr(at + words.size()));
  EXPECT_GT(error, 1e-3) << done.err;
  EXPECT_LT(error, 2e-2) << done.err;
  EXPECT_EQ(run(generate({"--fast-int8"})).out, done.out);
}

TEST(FastInt8, IsSilentAndUnusedUnasked) {
  const Finished done = run(generate({}));
  EXPECT_EQ(done.exit, 0) << done.err;
  EXPECT_THAT(done.err, Not(HasSubstr("int8")));
}

TEST(FastInt8, ExplainTellsWhatItChanges) {
  const std::vector<std::string> product = {"explain", "--n", "4096",      "--k",         "4096",
                                            "--m",     "64",  "--machine", "desktop_avx2"};
  const Finished exact = run(product);
  EXPECT_EQ(exact.exit, 0) << exact.err;
  EXPECT_THAT(exact.out, HasSubstr("not allowed: 8-bit activations need --fast-int8"));
  std::vector<std::string> asked = product;
  asked.push_back("--fast-int8");
  const Finished fast = run(asked);
  EXPECT_EQ(fast.exit, 0) << fast.err;
  EXPECT_THAT(fast.out, HasSubstr("order int8_groups"));
}

TEST(FastInt8, IsRefusedWhereNoKernelHasIt) {
  const Finished done = run(generate({"--fast-int8", "--max-isa", "cpu"}));
  EXPECT_EQ(done.exit, 2);
  EXPECT_EQ(done.out, "");
  EXPECT_THAT(done.err, HasSubstr("fast-int8: no kernel computes with 8-bit activations on"));
}

}  // namespace
}  // namespace stepless::test
