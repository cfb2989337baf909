// The program as users meet it: output, exit codes, settings, refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
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

Finished stepless(std::vector<std::string> arguments,
                  std::map<std::string, std::string> environment = {}) {
  return run_program(STEPLESS_BINARY, {std::move(arguments), std::move(environment), "", 0});
}

std::string demo() { return models_dir() + "/tale-4bit"; }

std::string write_file(const std::string& name, const std::string& text) {
  const std::string path = scratch_dir("cli") + "/" + name;
  std::ofstream(path) << text;
  return path;
}

OrderedJson generate_json(std::vector<std::string> more) {
  std::vector<std::string> all = {"generate", "--model", demo(), "--json", "--max-tokens", "24"};
  all.insert(all.end(), more.begin(), more.end());
  const Finished done = stepless(all);
  EXPECT_EQ(done.exit, 0) << done.err;
  return parse_ordered_json(done.out, "output");
}

TEST(Generate, WritesTheTextToStdoutAndFiguresToStderr) {
  const Finished done =
      stepless({"generate", "--model", demo(), "--prompt", "Once upon a time there was a king",
                "--ignore-chat-template", "--max-tokens", "7"});
  EXPECT_EQ(done.exit, 0);
  EXPECT_EQ(done.out, " who was very fond of him.\n");
  EXPECT_THAT(done.err, AllOf(HasSubstr("==========\n"), HasSubstr("Prompt: 8 tokens, "),
                              HasSubstr("Generation: 7 tokens, "), HasSubstr("Peak memory: "),
                              HasSubstr("Floor: ")));
}

TEST(Generate, QuietAndVerboseFalseLeaveOnlyTheText) {
  for (const char* flag : {"--quiet", "--verbose=false"}) {
    const Finished done = stepless({"generate", "--model", demo(), "--max-tokens", "3", flag});
    EXPECT_EQ(done.exit, 0);
    EXPECT_EQ(done.err, "") << flag;
  }
}

TEST(Generate, JsonHasTheFieldsOfTheConventions) {
  const OrderedJson json = generate_json({"--prompt", "A fox"});
  EXPECT_EQ(json["tokens"].size(), 24u);
  EXPECT_EQ(json["finish_reason"], "length");
  EXPECT_EQ(json["usage"]["completion_tokens"], 24);
  EXPECT_TRUE(json.contains("seed") && json.contains("timings") && json["text"].is_string());
  EXPECT_FALSE(json.contains("logprobs"));
}

TEST(Generate, LogprobsAreBestFirstAndTheGreedyTokenLeads) {
  const OrderedJson json = generate_json({"--prompt", "A fox", "--logprobs", "3"});
  ASSERT_EQ(json["logprobs"].size(), json["tokens"].size());
  for (std::size_t i = 0; i < json["tokens"].size(); ++i) {
    const OrderedJson& one = json["logprobs"][i];
    ASSERT_EQ(one["top"].size(), 3u);
    EXPECT_EQ(one["top"][0]["token"], json["tokens"][i]);
    EXPECT_EQ(one["top"][0]["logprob"], one["logprob"]);
    EXPECT_GE(one["top"][0]["logprob"].get<double>(), one["top"][1]["logprob"].get<double>());
  }
}

TEST(Generate, SeedsRepeatAndDiffer) {
  const std::vector<std::string> warm = {"--prompt", "Tell me a tale.", "--temp", "1.2"};
  const auto with_seed = [&](const std::string& seed) {
    std::vector<std::string> all = warm;
    all.insert(all.end(), {"--seed", seed});
    return generate_json(all)["text"];
  };
  EXPECT_EQ(with_seed("7"), with_seed("7"));
  EXPECT_NE(with_seed("7"), with_seed("8"));
}

TEST(Generate, ABatchHasTheBytesOfItsLoneRuns) {
  const std::vector<std::string> prompts = {"Once upon a time",
                                            "The old king looked at the sea and said", "A", "Why?"};
  std::string lines;
  for (const std::string& prompt : prompts) lines += OrderedJson{{"prompt", prompt}}.dump() + "\n";
  const std::string file = write_file("prompts.jsonl", lines);
  for (const std::vector<std::string>& sampling :
       {std::vector<std::string>{"--temp", "0"},
        {"--temp", "0.9", "--top-p", "0.9", "--seed", "3"}}) {
    std::vector<std::string> batch = {"generate",     "--model", demo(),      "--json",
                                      "--max-tokens", "24",      "--prompts", file};
    batch.insert(batch.end(), sampling.begin(), sampling.end());
    const Finished done = stepless(batch);
    ASSERT_EQ(done.exit, 0) << done.err;
    std::istringstream rows(done.out);
    std::string row;
    for (const std::string& prompt : prompts) {
      ASSERT_TRUE(std::getline(rows, row));
      std::vector<std::string> alone = {"--prompt", prompt};
      alone.insert(alone.end(), sampling.begin(), sampling.end());
      EXPECT_EQ(parse_ordered_json(row, "row")["text"], generate_json(alone)["text"]) << prompt;
    }
  }
}

TEST(Generate, BadLinesOfAPromptFileAreNamed) {
  const std::string file = write_file("bad.jsonl", "{\"prompt\": \"a\"}\n{\"promt\": \"b\"}\n");
  const Finished done = stepless({"generate", "--model", demo(), "--prompts", file});
  EXPECT_EQ(done.exit, 2);
  EXPECT_THAT(done.err, AllOf(HasSubstr("bad.jsonl:2"), HasSubstr("\"promt\" is not known")));
  EXPECT_EQ(done.out, "");
}

TEST(Generate, ReadsStdinAndFiles) {
  const std::string file = write_file("prompt.txt", "A fox");
  const OrderedJson expected = generate_json({"--prompt", "A fox"});
  EXPECT_EQ(generate_json({"--prompt-file", file})["text"], expected["text"]);
  const Finished piped =
      run_program(STEPLESS_BINARY,
                  {{"generate", "--model", demo(), "--json", "--max-tokens", "24", "--prompt", "-"},
                   {},
                   "A fox",
                   0});
  EXPECT_EQ(parse_ordered_json(piped.out, "output")["text"], expected["text"]);
}

TEST(Generate, StopsAtAStopString) {
  const OrderedJson json = generate_json({"--prompt", "Once upon a time there was a king",
                                          "--ignore-chat-template", "--stop", "fond of"});
  EXPECT_EQ(json["text"], " who was very ");
  EXPECT_EQ(json["finish_reason"], "stop");
}

TEST(Generate, CtrlCEndsAtAStepWithTheTextSoFar) {
  const Finished done =
      run_program(STEPLESS_BINARY,
                  {{"generate", "--model", demo(), "--prompt", "Tell me a tale.", "--max-tokens",
                    "0", "--temp", "1", "--seed", "1", "-t", "1", "--logit-bias", "2:-1000"},
                   {},
                   "",
                   40});
  EXPECT_EQ(done.exit, 130);
  EXPECT_GE(done.out.size(), 40u);
  EXPECT_THAT(done.err, AllOf(HasSubstr("interrupted"), HasSubstr("Generation: ")));
}

TEST(Errors, HaveTheirExitCodes) {
  const std::string empty = scratch_dir("cli/empty");
  const Finished missing = stepless({"generate", "--model", "no-such-model"});
  EXPECT_EQ(missing.exit, 3);
  EXPECT_THAT(missing.err, AllOf(StartsWith("error: model 'no-such-model' not found"),
                                 HasSubstr("looked in: "), HasSubstr("--model demo")));
  EXPECT_EQ(stepless({"generate", "--model", empty}).exit, 3);
  EXPECT_EQ(stepless({"generate"}).exit, 2);
  EXPECT_EQ(stepless({"generate", "--model", demo(), "--temp", "-1"}).exit, 2);
  EXPECT_EQ(stepless({"generate", "--model", demo(), "--ctx-size", "999999"}).exit, 2);
  EXPECT_EQ(stepless({"generate", "--model", demo(), "--kv-cache-bytes", "900000G"}).exit, 4);
  EXPECT_EQ(stepless({"generate", "--synthetic", "gpt-5"}).exit, 2);
}

TEST(Errors, ATypoGetsTheNearestFlag) {
  const Finished done = stepless({"generate", "--model", demo(), "--max-token", "3"});
  EXPECT_EQ(done.exit, 2);
  EXPECT_THAT(done.err, HasSubstr("did you mean --max-tokens?"));
}

TEST(Errors, WhatIsNotThereYetIsRefusedByName) {
  for (const std::vector<std::string>& flag :
       std::vector<std::vector<std::string>>{{"--kv-host-bytes", "1G"},
                                             {"-ctk", "q8_0"},
                                             {"--adapter-path", "x"},
                                             {"-hf", "x"},
                                             {"--fast-int8", "--max-isa", "cpu"},
                                             {"--tensor-parallel", "2"},
                                             {"--device", "cuda:99"},
                                             {"--device", "tpu"},
                                             {"-ngl", "7"}}) {
    std::vector<std::string> all = {"generate", "--model", demo()};
    all.insert(all.end(), flag.begin(), flag.end());
    const Finished done = stepless(all);
    EXPECT_EQ(done.exit, 2) << flag[0] << ": " << done.err;
    EXPECT_EQ(done.out, "") << flag[0];
  }
  for (const char* command : {"serve", "lora"}) EXPECT_EQ(stepless({command}).exit, 2) << command;
}

TEST(Settings, FlagOverEnvironmentOverConfigOverDefault) {
  const std::string config =
      write_file("config.toml", "threads = 1\n[generate]\nmax-tokens = 3\nprompt = \"A fox\"\n");
  const auto tokens = [&](std::vector<std::string> more,
                          std::map<std::string, std::string> environment) {
    std::vector<std::string> all = {"generate", "--model", demo(), "--json", "--config", config};
    all.insert(all.end(), more.begin(), more.end());
    const Finished done = stepless(all, std::move(environment));
    EXPECT_EQ(done.exit, 0) << done.err;
    return parse_json(done.out, "output")["tokens"].size();
  };
  EXPECT_EQ(tokens({}, {}), 3u);
  EXPECT_EQ(tokens({}, {{"STEPLESS_MAX_TOKENS", "4"}}), 4u);
  EXPECT_EQ(tokens({"--max-tokens", "5"}, {{"STEPLESS_MAX_TOKENS", "4"}}), 5u);
  const Finished shown =
      stepless({"generate", "--config", config, "--print-config"}, {{"STEPLESS_TOP_K", "9"}});
  EXPECT_EQ(shown.exit, 0);
  EXPECT_THAT(shown.out,
              AllOf(HasSubstr("config.toml"), HasSubstr("STEPLESS_TOP_K"), HasSubstr("default")));
}

TEST(Settings, AnUnknownKeyIsNamedWithItsLine) {
  const std::string config = write_file("unknown.toml", "threads = 1\nmax-tokns = 3\n");
  const Finished done = stepless({"generate", "--model", demo(), "--config", config});
  EXPECT_EQ(done.exit, 2);
  EXPECT_THAT(done.err, HasSubstr("unknown.toml:2: max-tokns"));
}

TEST(Settings, StrayEnvironmentOfOtherCommandsDoesNotHurt) {
  EXPECT_EQ(stepless({"info"}, {{"STEPLESS_GOLDEN", "/nowhere"}, {"STEPLESS_PROMPT", "x"}}).exit,
            0);
}

TEST(Models, AreFoundByNameAndInTheHubCache) {
  const std::string root = scratch_dir("cli/models"), hub = scratch_dir("cli/hub");
  std::filesystem::copy(models_dir() + "/tale-draft-4bit", root + "/mine",
                        std::filesystem::copy_options::recursive);
  const std::string base = hub + "/models--mlx-community--Tiny-4bit";
  std::filesystem::create_directories(base + "/refs");
  std::ofstream(base + "/refs/main") << "abc123";
  std::filesystem::create_directories(base + "/snapshots");
  std::filesystem::copy(models_dir() + "/tale-draft-4bit", base + "/snapshots/abc123",
                        std::filesystem::copy_options::recursive);
  EXPECT_EQ(stepless({"info", "--model", "mine", "--models-dir", root}).exit, 0);
  EXPECT_EQ(stepless({"info", "--model", "mine"}, {{"STEPLESS_MODELS", "/nowhere:" + root}}).exit,
            0);
  EXPECT_EQ(stepless({"info", "--model", "mlx-community/Tiny-4bit"}, {{"HF_HUB_CACHE", hub}}).exit,
            0);
  EXPECT_EQ(stepless({"info", "--model", "Tiny-4bit"}, {{"HF_HUB_CACHE", hub}}).exit, 0);
}

TEST(Info, TellsTheModelAndTheMachine) {
  const Finished model = stepless({"info", "--model", demo(), "--json"});
  const Json json = parse_json(model.out, "output");
  EXPECT_EQ(json["family"], "qwen3");
  EXPECT_EQ(json["layers"], 6);
  EXPECT_EQ(json["vocab"], 4096);
  EXPECT_TRUE(json["fits"].get<bool>());
  EXPECT_THAT(
      stepless({"info"}).out,
      AllOf(HasSubstr("kernels  cpu"), AnyOf(HasSubstr("off      cuda"), HasSubstr("cuda:0"))));
  EXPECT_EQ(parse_json(stepless({"--version", "--json"}).out, "version")["version"], "0.1.0");
}

TEST(Explain, ProblemsAndModels) {
  const Finished block = stepless(
      {"explain", "--n", "4096", "--k", "4096", "--m", "1,4", "--machine", "server_avx512bf16"});
  EXPECT_EQ(block.exit, 0) << block.err;
  EXPECT_THAT(block.out, AllOf(HasSubstr("problem   y(1,4096)"), HasSubstr("y(4,4096)"),
                               HasSubstr("* qmm_affine_b4_bf16"), HasSubstr("floor")));
  const Finished model = stepless({"explain", "--model", demo(), "--batch", "8", "--prompt", "64"});
  EXPECT_EQ(model.exit, 0) << model.err;
  EXPECT_THAT(model.out, AllOf(HasSubstr("decode, batch 8"), HasSubstr("prefill"),
                               HasSubstr("0..5"), HasSubstr("total")));
  EXPECT_EQ(stepless({"explain", "--n", "100", "--k", "100"}).exit, 2);
  EXPECT_EQ(stepless({"explain", "--model", demo(), "--layer", "77"}).exit, 2);
}

TEST(Selftest, PassesAndCanFail) {
  const Finished good = stepless({"selftest", "--quick"});
  EXPECT_EQ(good.exit, 0) << good.out;
  EXPECT_THAT(good.out, HasSubstr(" passed, 0 failed, "));
  const std::string folder = scratch_dir("cli/golden/samplers");
  std::ofstream(folder + "/samplers.json")
      << R"({"cases": [{"name": "wrong", "options": {"temperature": 0.0}, "history": [], "logits": [0, 1],
             "kept": [0], "probabilities": [1.0]}]})";
  const Finished bad = stepless({"selftest", "--golden", scratch_dir("cli/golden")});
  EXPECT_EQ(bad.exit, 6);
  EXPECT_THAT(bad.out, AllOf(HasSubstr("FAILED samplers/wrong"),
                             HasSubstr("0 passed, 1 failed, 0 skipped")));
}

/// As tools/device/run calls it.
TEST(Selftest, PassesOnTheFixturesThatTravelAlong) {
  const Finished done = stepless({"selftest", "--golden", test::golden_dir(), "--device", "cpu"});
  EXPECT_EQ(done.exit, 0) << done.out << done.err;
  EXPECT_THAT(done.out + done.err, HasSubstr(" passed, 0 failed, "));
}

TEST(Output, HasNoEscapesInAPipe) {
  const Finished done =
      stepless({"generate", "--model", demo(), "--max-tokens", "40", "--progress"});
  EXPECT_THAT(done.out + done.err, Not(HasSubstr("\033")));
}

}  // namespace
}  // namespace stepless::test
