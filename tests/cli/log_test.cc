// --log-file and --log-level: what is logged, where to, and what is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using Words = std::vector<std::string>;

Finished generate(const Words& more, std::map<std::string, std::string> environment = {}) {
  Words all = {"generate", "--model",   models_dir() + "/tale-4bit",
               "--prompt", "SECRETfox", "--max-tokens",
               "3",        "--quiet"};
  all.insert(all.end(), more.begin(), more.end());
  return run_program(STEPLESS_BINARY, {std::move(all), std::move(environment), "", 0});
}

std::string log_path(const std::string& name) {
  const std::string path = scratch_dir("log") + "/" + name;
  std::filesystem::remove(path);
  return path;
}

std::string text_of(const std::string& path) { return read_text(path, 1 << 20); }

/// The words of each line, its time and level checked.
Words lines_of(const std::string& text) {
  const std::regex form(
      R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ((trace|debug|info|warn|error) .*))");
  Words lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    std::smatch match;
    EXPECT_TRUE(std::regex_match(line, match, form)) << line;
    if (!match.empty()) lines.push_back(match[1]);
  }
  return lines;
}

TEST(Log, AFileTellsTheRunAndNoText) {
  const std::string path = log_path("run.log");
  const Finished done = generate({"--log-file", path});
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_EQ(done.err, "") << "the file takes the lines from stderr";
  const Words lines = lines_of(text_of(path));
  ASSERT_EQ(lines.size(), 4u) << text_of(path);
  EXPECT_THAT(lines[0], StartsWith("info start generate "));
  EXPECT_THAT(lines[1], AllOf(StartsWith("info model "), HasSubstr("tale-4bit")));
  EXPECT_THAT(lines[2], AllOf(StartsWith("info req=0 prompt="), HasSubstr(" out=3 "),
                              HasSubstr("finish=length")));
  EXPECT_EQ(lines[3], "info end exit=0");
  EXPECT_EQ(generate({"--log-file", path}).exit, 0);
  EXPECT_EQ(lines_of(text_of(path)).size(), 8u) << "a file is appended to";
  EXPECT_EQ(generate({"--log-file", path, "--log-level", "trace", "--prefill-step-size", "4"}).exit,
            0);
  const std::string all = text_of(path);
  EXPECT_THAT(all, AllOf(HasSubstr(" debug set --prompt by command line"),
                         HasSubstr(" trace prefill "), Not(HasSubstr("SECRETfox"))));
  EXPECT_THAT(all, Not(HasSubstr(done.out.substr(0, done.out.size() - 1))));
}

TEST(Log, LevelsAreThresholdsAndStderrIsTheDefault) {
  EXPECT_EQ(generate({}).err, "");
  for (const char* level : {"warn", "error", "off"})
    EXPECT_EQ(generate({"--log-level", level}).err, "") << level;
  EXPECT_EQ(lines_of(generate({"--log-level", "info"}).err).size(), 4u);
  EXPECT_THAT(generate({"--log-level", "debug"}).err, HasSubstr(" debug set --max-tokens by "));
  EXPECT_EQ(lines_of(generate({}, {{"STEPLESS_LOG_LEVEL", "info"}}).err).size(), 4u);
  const std::string path = log_path("off.log");
  EXPECT_EQ(generate({"--log-file", path, "--log-level", "off"}).exit, 0);
  EXPECT_EQ(text_of(path), "");
}

TEST(Log, ErrorsAndNotesAreInTheFileAndOnStderrOnce) {
  const std::string path = log_path("errors.log");
  const Finished gone =
      generate({"--model", "no\nsuch", "--trust-remote-code", "--log-file", path});
  EXPECT_EQ(gone.exit, 3);
  EXPECT_THAT(gone.err, AllOf(StartsWith("note: --trust-remote-code"), HasSubstr("\nerror: ")));
  const Words lines = lines_of(text_of(path));
  ASSERT_EQ(lines.size(), 4u) << text_of(path);
  EXPECT_THAT(lines[1], StartsWith("warn --trust-remote-code"));
  EXPECT_THAT(lines[2], AllOf(StartsWith("error "), HasSubstr("no\\x0asuch")));
  EXPECT_EQ(lines[3], "info end exit=3");
  EXPECT_EQ(generate({"--model", "none", "--log-level", "error"}).err.find("Z error"),
            std::string::npos)
      << "stderr has it in its own words";
}

TEST(Log, WhatCannotBeWrittenIsSaid) {
  const Finished folder = generate({"--log-file", scratch_dir("log")});
  EXPECT_EQ(folder.exit, 2);
  EXPECT_THAT(folder.err, AllOf(StartsWith("error: --log-file "), HasSubstr("cannot be written")));
  EXPECT_EQ(folder.out, "");
  const Finished level = generate({"--log-level", "loud"});
  EXPECT_EQ(level.exit, 2);
  EXPECT_THAT(level.err, HasSubstr("--log-level"));
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const Finished full = generate({"--log-file", "/dev/full"});
  EXPECT_EQ(full.exit, 0) << "a log is no reason to lose an answer";
  EXPECT_EQ(full.err, "note: --log-file: No space left on device; nothing more is logged\n");
}

}  // namespace
}  // namespace stepless::test
