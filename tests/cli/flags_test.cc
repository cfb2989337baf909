// Flags as users meet them: what they do, what is refused, what a wrong one is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

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

Finished run(Words arguments, std::map<std::string, std::string> environment = {}) {
  return run_program(STEPLESS_BINARY, {std::move(arguments), std::move(environment), "", 0});
}

Words generate(const Words& more) {
  Words all = {"generate", "--model", models_dir() + "/tale-4bit"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

OrderedJson json_of(const Words& more) {
  Words all = generate({"--json", "--max-tokens", "16"});
  all.insert(all.end(), more.begin(), more.end());
  const Finished done = run(all);
  EXPECT_EQ(done.exit, 0) << done.err;
  return parse_ordered_json(done.out, "output");
}

std::string file(const std::string& name, const std::string& text) {
  const std::string path = scratch_dir("cli-flags") + "/" + name;
  std::ofstream(path) << text;
  return path;
}

TEST(Flags, EverySpellingIsTheSameFlag) {
  const Words base = {"--prompt", "A fox", "--temp", "0.9", "--seed", "5", "--system-prompt", "Hm"};
  const OrderedJson expected = json_of(base)["tokens"];
  EXPECT_EQ(json_of({"-p", "A fox", "--temperature", "0.9", "-s", "5", "-sys", "Hm"})["tokens"],
            expected);
  EXPECT_EQ(json_of({"-p", "A fox", "--temp=0.9", "-s", "5", "-sys", "Hm", "-dev", "cpu", "-t", "1",
                     "-ub", "7", "-c", "512", "-tp", "1", "-ngl", "0"})["tokens"],
            expected);
  for (const char* name : {"-m", "-n", "--predict", "--max-tokens"})
    EXPECT_EQ(parse_json(run(generate({"--json", name, "3"})).out, name)["tokens"].size(), 3u);
}

TEST(Flags, EachSamplingFlagChangesTheTextOrTakesItsNeutralValue) {
  const Words warm = {"--prompt", "Tell me a tale.", "--temp", "1.5", "--seed", "11"};
  const auto with = [&](Words more) {
    Words all = warm;
    all.insert(all.end(), more.begin(), more.end());
    return json_of(all)["tokens"];
  };
  const OrderedJson plain = with({});
  for (const Words& flag : std::vector<Words>{{"--top-p", "0.2"},
                                              {"--min-p", "0.5"},
                                              {"--top-k", "1"},
                                              {"--xtc-probability", "1", "--xtc-threshold", "0.05"},
                                              {"--repetition-penalty", "5"},
                                              {"--presence-penalty", "9"},
                                              {"--frequency-penalty", "9"},
                                              {"--logit-bias", "100:50"}})
    EXPECT_NE(with(flag), plain) << flag[0];
  for (const Words& flag : std::vector<Words>{{"--top-p", "1"},
                                              {"--min-p", "0"},
                                              {"--top-k", "0"},
                                              {"--xtc-probability", "0", "--xtc-threshold", "0.05"},
                                              {"--min-tokens-to-keep", "3"},
                                              {"--repetition-penalty", "0"},
                                              {"--repetition-context-size", "3"},
                                              {"--presence-context-size", "3"},
                                              {"--frequency-context-size", "3"},
                                              {"--logit-bias", "100:0"}})
    EXPECT_EQ(with(flag), plain) << flag[0];
  EXPECT_EQ(with({"--min-p", "0.999", "--min-tokens-to-keep", "4096"}), plain);
  EXPECT_NE(with({"--presence-penalty", "9", "--presence-context-size", "1"}),
            with({"--presence-penalty", "9", "--presence-context-size", "64"}));
}

TEST(Flags, PrefillBeginsTheAnswerAndIsNotRepeated) {
  const OrderedJson whole =
      json_of({"--prompt", "Once upon a time there was a king", "--ignore-chat-template"});
  const OrderedJson rest = json_of({"--prompt", "Once upon a time", "--prefill-response",
                                    " there was a king", "--ignore-chat-template"});
  EXPECT_EQ(whole["text"], rest["text"]);
}

TEST(Flags, AnExtraEosTokenEndsTheAnswer) {
  const OrderedJson plain = json_of({"--prompt", "A fox", "--logprobs", "1"});
  const OrderedJson none = json_of({"--prompt", "A fox", "--extra-eos-token", "<|im_end|>"});
  EXPECT_EQ(plain["tokens"], none["tokens"]);
  EXPECT_EQ(run(generate({"--extra-eos-token", "no such token"})).exit, 2);
}

TEST(Flags, JsonLinesCarryTheirPromptAndTheAlternatives) {
  const std::string prompts = file("two.jsonl", "{\"prompt\": \"A fox\"}\n{\"prompt\": \"Why\"}\n");
  const Finished done = run(generate(
      {"--jsonl", "--prompts", prompts, "--max-tokens", "3", "--logprobs", "2", "--seed", "1"}));
  EXPECT_EQ(done.exit, 0) << done.err;
  std::istringstream lines(done.out);
  int tokens[2] = {0, 0}, results = 0;
  for (std::string line; std::getline(lines, line);) {
    const OrderedJson json = parse_ordered_json(line, "line");
    if (json.contains("finish_reason")) {
      ++results;
      continue;
    }
    ++tokens[json["index"].get<int>()];
    EXPECT_EQ(json["top"].size(), 2u);
    EXPECT_EQ(json["top"][0]["logprob"], json["logprob"]);
    EXPECT_EQ(results, 0);
  }
  EXPECT_EQ(tokens[0], 3);
  EXPECT_EQ(tokens[1], 3);
  EXPECT_EQ(results, 2);
}

TEST(Flags, WhatWouldBeIgnoredIsRefused) {
  for (const Words& flags :
       std::vector<Words>{{"--logprobs", "2"},
                          {"--system-prompt", "x", "--ignore-chat-template"},
                          {"--prompt", "x", "--prompt-file", "y"},
                          {"--prompt", "x", "--prompts", "y"},
                          {"--json", "--jsonl"},
                          {"--progress", "--no-progress"},
                          {"--chat-template", "x", "--use-default-chat-template"},
                          {"--chat-template-config", "{}", "--ignore-chat-template"},
                          {"--synthetic", "qwen3-0.6b"}}) {
    const Finished done = run(generate(flags));
    EXPECT_EQ(done.exit, 2) << flags[0] << ": " << done.err;
    EXPECT_THAT(done.err, StartsWith("error: --")) << flags[0];
    EXPECT_EQ(done.out, "") << flags[0];
  }
}

TEST(Flags, HelpShowsGroupsDefaultsAliasesAndNoRefusedFlag) {
  const Finished help = run({"generate", "--help"});
  EXPECT_EQ(help.exit, 0);
  EXPECT_THAT(help.out, AllOf(HasSubstr("Usage: stepless generate"), HasSubstr("Sampling:"),
                              HasSubstr("--prefill-step-size [-ub] N "),
                              HasSubstr("--max-tokens,--predict N=100"), HasSubstr("Examples:")));
  EXPECT_THAT(help.out, Not(HasSubstr("--adapter-path")));
  EXPECT_THAT(run({"--help"}).out, AllOf(HasSubstr("chat"), HasSubstr("selftest")));
}

TEST(Usage, ErrorsSayTheThingAndWhatWouldBeRight) {
  const auto error = [](Words words) {
    const Finished done = run(std::move(words));
    EXPECT_EQ(done.exit, 2);
    EXPECT_EQ(done.out, "");
    return done.err;
  };
  EXPECT_THAT(error({"generate", "--max-token", "3"}),
              StartsWith("error: --max-token: not known; did you mean --max-tokens?\nhint: "));
  EXPECT_THAT(error({"generate", "--max-tokens", "many"}),
              StartsWith("error: --max-tokens many: not a whole number\n"));
  EXPECT_THAT(error({"generate", "--temp=warm"}), StartsWith("error: --temp warm: not a number\n"));
  EXPECT_THAT(error({"generate", "--verbose", "perhaps"}),
              HasSubstr("--verbose perhaps: not true"));
  EXPECT_THAT(error({"generate", "word"}), StartsWith("error: 'word': not expected"));
  EXPECT_THAT(error({"generate", "--json", "--jsonl"}), HasSubstr("give one of them"));
  EXPECT_THAT(error({"generte"}), StartsWith("error: generte: no such command; did you mean "
                                             "generate?"));
  EXPECT_THAT(error({"xyzzy"}), HasSubstr("no such command; stepless --help"));
  EXPECT_THAT(error({"lora"}), HasSubstr("mlx_lm.lora"));
  EXPECT_THAT(error({"--frob"}), StartsWith("error: --frob: not known"));
  EXPECT_THAT(error({"generate", "--logit-bias", "five"}),
              HasSubstr("--logit-bias five: not ID:B"));
}

TEST(Settings, AWrongValueNamesItsVariableOrFileAndLine) {
  const Finished variable = run(generate({}), {{"STEPLESS_MAX_TOKENS", "many"}});
  EXPECT_EQ(variable.exit, 2);
  EXPECT_THAT(variable.err,
              StartsWith("error: STEPLESS_MAX_TOKENS: --max-tokens many: not a whole number"));
  const std::string config = file(
      "wrong.toml", "temperature = 0.5\n[chat]\nmax-tokens = 3\n[generate]\nmax-tokens = \"x\"\n");
  const Finished done = run(generate({"--config", config}));
  EXPECT_EQ(done.exit, 2);
  EXPECT_THAT(done.err, HasSubstr("wrong.toml:5: --max-tokens x: not a whole number"));
}

TEST(Settings, ASettingYieldsToAFlagThatExcludesIt) {
  const Finished done =
      run(generate({"--prompt-file", file("p.txt", "A fox"), "--json", "--max-tokens", "4"}),
          {{"STEPLESS_PROMPT", "Why"}, {"STEPLESS_JSONL", "true"}});
  EXPECT_EQ(done.exit, 0) << done.err;
  EXPECT_EQ(parse_ordered_json(done.out, "output")["tokens"],
            json_of({"--prompt", "A fox", "--max-tokens", "4"})["tokens"]);
}

TEST(Settings, PrintConfigTellsEachSource) {
  const std::string config = file("sources.toml", "[generate]\ntop-k = 5\n");
  const Finished done = run({"generate", "--config", config, "--print-config", "--min-p", "0.1"},
                            {{"STEPLESS_TEMP", "0.3"}});
  EXPECT_EQ(done.exit, 0) << done.err;
  EXPECT_THAT(done.out, AllOf(testing::ContainsRegex("top-k +5 +.*sources.toml:2\n"),
                              testing::ContainsRegex("min-p +0.1 +command line\n"),
                              testing::ContainsRegex("temp +0.3 +STEPLESS_TEMP\n"),
                              testing::ContainsRegex("top-p +1 +default\n")));
}

}  // namespace
}  // namespace stepless::test
