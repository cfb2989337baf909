// What happens to output that cannot be written, and words that are lists to nobody but CLI11.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/paths.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

using Words = std::vector<std::string>;

Finished stepless_run(Words words, std::map<std::string, std::string> environment = {}) {
  return run_program(STEPLESS_BINARY, {std::move(words), std::move(environment), "", 0});
}

/// The program by a shell, so that its output can go elsewhere. A redirection opens the device, and
/// nothing here makes or replaces one.
Finished shell(const std::string& line) {
  return run_program("/bin/sh", {{"-c", line}, {{"STEPLESS", STEPLESS_BINARY}}, "", 0});
}

TEST(Output, ThatIsLostIsAFailure) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  for (const char* command : {"--version", "--help", "info", "models"}) {
    const Finished done = shell(std::string("\"$STEPLESS\" ") + command + " >/dev/full");
    EXPECT_EQ(done.exit, 1) << command;
    EXPECT_EQ(done.err, "error: stdout: No space left on device; output is missing\n") << command;
  }
}

TEST(Output, ThatIsLostWithinAnAnswerIsAFailure) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const Finished done =
      shell("\"$STEPLESS\" generate --model demo --prompt fox --max-tokens 3 --quiet >/dev/full");
  EXPECT_EQ(done.exit, 1);
  EXPECT_THAT(done.err, HasSubstr("error: stdout: "));
}

TEST(Output, ThatNobodyReadsOnEndsTheAnswer) {
  const Finished done = shell(
      "\"$STEPLESS\" generate --model demo --logit-bias 2:-1000 --max-tokens 1500 | head -c 10 "
      ">/dev/null");
  EXPECT_EQ(done.exit, 0);
  const std::size_t at = done.err.find("Generation: ");
  ASSERT_NE(at, std::string::npos) << done.err;
  EXPECT_LT(std::stoi(done.err.substr(at + 12)), 1500);
}

TEST(Output, ThatNobodyReadsOnEndsTheChat) {
  const Finished done = shell(
      "printf 'one\\ntwo\\n' | \"$STEPLESS\" chat --model demo --max-tokens 1500 --jsonl | head -c "
      "10 >/dev/null");
  EXPECT_EQ(done.exit, 0);
  EXPECT_THAT(done.err, Not(HasSubstr("error")));
}

TEST(Lists, TakeOneValuePerUseAndLeaveBracketsAlone) {
  const Finished token = stepless_run({"generate", "--model", "demo", "--extra-eos-token", "[x]"});
  EXPECT_EQ(token.exit, 2);
  EXPECT_THAT(token.err, HasSubstr("--extra-eos-token [x]"));
  EXPECT_EQ(stepless_run({"generate", "--model", "demo", "--logit-bias", "[2870:-100]"}).exit, 2);
  EXPECT_EQ(stepless_run({"generate", "--model", "demo", "--stop", "zz", "time"}).exit, 2);
  const Words shown = {"generate", "--stop", "[time,zebra]", "--print-config"};
  EXPECT_THAT(stepless_run(shown).out, HasSubstr("[time,zebra]"));
  EXPECT_THAT(stepless_run({"generate", "--print-config"}, {{"STEPLESS_STOP", "[time]"}}).out,
              HasSubstr("[time]"));
}

/// A config file of this text.
std::string config_file(const std::string& text) {
  const std::string path = scratch_dir("output") + "/c.toml";
  std::ofstream(path) << text;
  return path;
}

std::string printed(const std::string& config) {
  return stepless_run({"generate", "--print-config", "--config", config_file(config)}).out;
}

TEST(Settings, ConfigFileFromTheEnvironmentIsRead) {
  const std::string path = config_file("max-tokens = 7\n");
  EXPECT_THAT(stepless_run({"generate", "--print-config"}, {{"STEPLESS_CONFIG", path}}).out,
              HasSubstr(path + ":1"));
  EXPECT_EQ(stepless_run({"generate", "--print-config"}, {{"STEPLESS_CONFIG", path + "x"}}).exit,
            2);
}

TEST(Settings, StringsAreTomls) {
  EXPECT_THAT(printed("prompt = \"a # b\"  # said\n"), HasSubstr("a # b "));
  EXPECT_THAT(printed("prompt = \"caf\\u00e9\"\n"), HasSubstr("café"));
  EXPECT_THAT(printed("prompt = 'a\\nb'\n"), HasSubstr("a\\nb"));
  EXPECT_THAT(printed("prompt = \"\"\"\nline one\nline two\"\"\"\n"),
              HasSubstr("line one\nline two"));
  EXPECT_THAT(printed("max-tokens = 1_000\n"), HasSubstr("1000"));
  EXPECT_THAT(printed("temp = 0.5\n"), HasSubstr("0.5"));
  EXPECT_THAT(printed("stop = [\"[one]\", \"two\"]\n"), HasSubstr("[one] two"));
  EXPECT_THAT(printed("quiet = true\n"), testing::ContainsRegex("quiet +true +.*c.toml:1"));
}

TEST(Settings, TextThatIsNoTomlIsRefusedWithItsLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"temp = 0.5\nprompt = \"open\n", ":2: no TOML"},
      {"temp = 0.5\ntemp = 0.6\n", ":2: no TOML"},
      {"\nconfig = \"other.toml\"\n", ":2: config"},
      {"max-tokens = 1979-05-27\n", ":1: max-tokens"},
      {"[generate.deep]\nx = 1\n", ":1: sections are not nested"},
      {"[nope]\nx = 1\n", ":1: [nope] is no command"},
      {"[generate]\ngenerate.top-k = 3\n", ":2: sections are not nested"},
      {"[chat]\nmodel = \"x\"\nmodels = 1\n", ":3: models is no flag of chat"},
  };
  for (const auto& [text, where] : cases) {
    const std::string path = config_file(text);
    const Finished done = stepless_run({"generate", "--print-config", "--config", path});
    EXPECT_EQ(done.exit, 2) << text;
    EXPECT_THAT(done.err, StartsWith("error: " + path + where)) << text;
  }
}

TEST(Settings, SectionsOfCommandsToComeAreLeftAlone) {
  const std::string path = config_file("[serve]\nport = 8080\n[generate]\ntop-k = 5\n");
  const Finished done = stepless_run({"generate", "--print-config", "--config", path});
  EXPECT_EQ(done.exit, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr(path + ":4"));
}

TEST(Settings, ColorFromTheConfigFileReachesErrors) {
  const std::string path = config_file("color = \"always\"\n");
  const Finished done =
      stepless_run({"generate", "--config", path, "--model", "/no/such", "--prompt", "x"});
  EXPECT_THAT(done.err, StartsWith("\033[1;31merror:"));
}

TEST(Settings, ConvertTakesItsSourceFromTheEnvironment) {
  for (const char* name : {"STEPLESS_HF_PATH", "STEPLESS_MODEL"}) {
    const std::string target = scratch_dir("output") + "/" + name;
    std::filesystem::remove_all(target);
    const Finished done =
        stepless_run({"convert", "--mlx-path", target, "-d", "--quiet"}, {{name, "demo"}});
    EXPECT_EQ(done.exit, 0) << done.err;
  }
  const Finished none = stepless_run({"convert", "-d"});
  EXPECT_EQ(none.exit, 2);
  EXPECT_THAT(none.err, HasSubstr("--hf-path: none given"));
}

TEST(Messages, NameWhatWasTypedAndWhatWouldBeRight) {
  EXPECT_THAT(stepless_run({"generate", "-ctk", "q5_0"}).err,
              StartsWith("error: -ctk q5_0: not one of f16, q8_0, q4_0\n"));
  for (const char* flag : {"-qa", "-hf", "-fa"})
    EXPECT_THAT(stepless_run({"generate", flag, "x"}).err,
                StartsWith("error: " + std::string(flag)));
  EXPECT_THAT(stepless_run({"generate", "-ngl"}).err, StartsWith("error: -ngl: a model"));
  EXPECT_THAT(stepless_run({"quantize"}).err, HasSubstr("stepless convert -q"));
  EXPECT_THAT(stepless_run({"generate", "--model", "Some-4bit"}).err,
              HasSubstr("hf download mlx-community/Some-4bit"));
  EXPECT_THAT(stepless_run({"generate", "--model", "/no/such"}).err, Not(HasSubstr(".//")));
}

TEST(Messages, NoColorStandsAboveForcedColor) {
  const Finished done = stepless_run({"nope"}, {{"NO_COLOR", "1"}, {"CLICOLOR_FORCE", "1"}});
  EXPECT_THAT(done.err, StartsWith("error: "));
}

}  // namespace
}  // namespace stepless::test
