// Nothing is accepted and ignored: what a command cannot use is refused with the flag's name,
// before a model is loaded where that can be told without one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;
using Words = std::vector<std::string>;

Finished run(Words arguments, std::map<std::string, std::string> environment = {}) {
  return run_program(STEPLESS_BINARY, {std::move(arguments), std::move(environment), "", 0});
}

std::string demo() { return models_dir() + "/tale-4bit"; }
std::string scratch(const std::string& name) { return scratch_dir("cli-refusals") + "/" + name; }

std::string file(const std::string& name, const std::string& text) {
  std::ofstream(scratch(name)) << text;
  return scratch(name);
}

void refused(const Words& words, const std::string& message) {
  const Finished done = run(words);
  EXPECT_EQ(done.exit, 2) << words[0] << " " << words[1] << ": " << done.err;
  EXPECT_THAT(done.err, StartsWith("error: " + message));
  EXPECT_EQ(done.out, "");
}

/// The model is none: what is refused here is refused before it is looked for.
void refused_at_the_door(const Words& flags, const std::string& message) {
  Words all = {"generate", "--model", "/nowhere"};
  all.insert(all.end(), flags.begin(), flags.end());
  refused(all, message);
}

TEST(Refusals, SamplingValuesAreJudgedBeforeTheModelIsLoaded) {
  refused_at_the_door({"--temp", "nan"}, "--temp nan: not from 0 to 1000000\n");
  refused_at_the_door({"--temp", "-0.1"}, "--temp -0.1: not from 0 to 1000000\n");
  refused_at_the_door({"--top-p", "1.5"}, "--top-p 1.5: not from 0 to 1\n");
  refused_at_the_door({"--min-p", "inf"}, "--min-p inf: not from 0 to 1\n");
  refused_at_the_door({"--top-k", "-1"}, "--top-k -1: not from 0 to 2147483647\n");
  refused_at_the_door({"--min-tokens-to-keep", "0"}, "--min-tokens-to-keep 0: not from 1 to ");
  refused_at_the_door({"--xtc-threshold", "0.6"}, "--xtc-threshold 0.6: not from 0 to 0.5\n");
  refused_at_the_door({"--repetition-penalty", "-1"}, "--repetition-penalty -1: not from 0 to ");
  refused_at_the_door({"--presence-penalty", "nan"}, "--presence-penalty nan: not from -1000000 ");
  refused_at_the_door({"--logit-bias", "-4:1"}, "--logit-bias -4:1: not ID from 0 on");
  refused_at_the_door({"--logit-bias", "4:1e9"}, "--logit-bias 4:1e9: not ID from 0 on");
  refused_at_the_door({"--seed", "-1"},
                      "--seed -1: not a whole number from 0 to 18446744073709551615\n");
  refused_at_the_door({"--seed", "18446744073709551616"}, "--seed 18446744073709551616: not a ");
  const Finished variable = run({"generate", "--model", demo()}, {{"STEPLESS_TEMP", "nan"}});
  EXPECT_EQ(variable.exit, 2);
  EXPECT_THAT(variable.err, StartsWith("error: STEPLESS_TEMP: --temp nan: not from 0 to 1000000"));
}

TEST(Refusals, WhatOnlyTheVocabularyTellsHasTheFlagsName) {
  refused({"generate", "--model", demo(), "--top-k", "999999"}, "--top-k 999999: not from 0 to ");
  refused({"generate", "--model", demo(), "--logit-bias", "999999:1"},
          "--logit-bias 999999: not from 0 to ");
}

TEST(Refusals, CountsOfTokensHaveAnEnd) {
  for (const char* count : {"-1", "9223372036854775807", "99999999999999999999"})
    refused_at_the_door({"--max-tokens", count}, std::string("--max-tokens ") + count +
                                                     ": not a whole number from 0 to 2147483648\n");
  refused_at_the_door({"--kv-bits", "4", "--kv-window", "9223372036854775807"}, "--kv-window ");
  const Finished most =
      run({"generate", "--model", demo(), "--ignore-chat-template", "--max-tokens", "2147483648",
           "--stop", " ", "--quiet", "--prompt", "Once upon a time"});
  EXPECT_EQ(most.exit, 0) << most.err;
}

TEST(Refusals, LinesOfPromptsAreJudgedAsFlagsAre) {
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"prompt": "x", "seed": -1})", R"("seed" is -1; a whole number from 0 to 1844)"},
      {R"({"prompt": "x", "seed": 1.7})", R"("seed" is 1.7; a whole number)"},
      {R"({"prompt": "x", "max_tokens": 1.5})", R"("max_tokens" is 1.5; a whole number from 0 to)"},
      {R"({"prompt": "x", "max_tokens": -1})", R"("max_tokens" is -1; a whole number from 0 to)"},
      {R"({"prompt": "x", "max_tokens": 9223372036854775807})", R"("max_tokens" is 9223372)"},
      {R"({"prompt": "x", "temp": true})", R"("temp" is true; a number from 0 to 1000000)"},
      {R"({"prompt": "x", "temp": -1})", R"("temp" is -1; a number from 0 to 1000000)"},
      {R"({"prompt": "x", "top_p": 2})", R"("top_p" is 2; a number from 0 to 1)"},
      {R"({"prompt": "x", "stop": [1]})", R"("stop" is 1; a string)"},
      {R"({"prompt": 3})", R"("prompt" is 3; a string)"},
      {R"({"messages": "x"})", R"("messages" is "x"; an array)"},
      {R"({"prompt": "x", "messages": []})", "a prompt and messages; give one of them"},
      {R"({"system_prompt": "x"})", "neither a prompt nor messages"},
      {R"({"prompt": "x", "top_q": 1})", R"("top_q" is not known)"}};
  for (const auto& [line, message] : wrong) {
    const std::string path = file("wrong.jsonl", std::string("{\"prompt\": \"x\"}\n") + line);
    refused({"generate", "--model", demo(), "--prompts", path}, path + ":2: " + message);
  }
}

TEST(Refusals, AMistypedTemplateIsNoTemplate) {
  refused({"generate", "--model", demo(), "--chat-template", "nofile"},
          "--chat-template nofile: no such file, and no template");
  refused({"generate", "--model", demo(), "--chat-template-file", "/nowhere/t"},
          "--chat-template-file /nowhere/t: cannot be read: No such file");
  refused({"generate", "--model", demo(), "--chat-template-file", "{{ messages }}"},
          "--chat-template-file {{ messages }}: cannot be read");
  refused({"generate", "--model", demo(), "--chat-template-file", scratch_dir("a-folder")},
          "--chat-template-file " + scratch_dir("a-folder") + ": is a folder");
  const std::string path = file("t.jinja", "{{ messages[0].content }}");
  const auto told = [](const char* flag, const std::string& given) {
    return run(
        {"generate", "--model", demo(), "--prompt", "A fox", "--max-tokens", "8", flag, given});
  };
  const Finished by_file = told("--chat-template-file", path);
  EXPECT_EQ(by_file.exit, 0) << by_file.err;
  EXPECT_EQ(told("--chat-template", path).out, by_file.out);
  EXPECT_EQ(told("--chat-template", "{{ messages[0].content }}").out, by_file.out);
}

TEST(Refusals, AFolderIsNoPrompt) {
  const std::string folder = scratch_dir("a-folder");
  refused({"cache-prompt", "--model", demo(), "--prompt-file", folder, "--prompt-cache-file",
           scratch("never.safetensors")},
          "--prompt-file " + folder + ": is a folder; give a file\n");
  refused({"generate", "--model", demo(), "--prompt-file", folder},
          "--prompt-file " + folder + ": is a folder; give a file\n");
  refused({"generate", "--model", demo(), "--prompts", folder},
          "--prompts " + folder + ": is a folder; give a file\n");
}

TEST(Refusals, ExplainTakesAProductOrAModel) {
  const Words product = {"explain", "--n", "64", "--k", "128"};
  const auto with = [](Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  for (const Words& more : std::vector<Words>{{"--batch", "2"},
                                              {"--context", "2"},
                                              {"--phase", "decode"},
                                              {"--act-dtype", "float32"},
                                              {"--kv-bits", "4"},
                                              {"--ctx-size", "9"},
                                              {"--chat-template", "{{ x }}"},
                                              {"--prefill-step-size", "9"},
                                              {"--layer", "0"}})
    refused(with(product, more), more[0] + ": tells of a model; give --model instead");
  refused(with(product, {"--device", "cuda:0"}), "--device: cuda:0: ");
  refused(with(product, {"-tp", "2"}), "--tensor-parallel 2: ");
  refused(with(product, {"--machine", "nope"}), "--machine nope: unknown; ");
  refused(with(product, {"--m", "0"}), "--m 0: not a whole number from 1 to ");
  EXPECT_EQ(run(with(product, {}), {{"STEPLESS_MODEL", demo()}, {"STEPLESS_BATCH", "2"}}).exit, 0);
  const Words model = {"explain", "--model", demo()};
  refused(with(model, {"--n", "64"}), "--n and --model: give one of them");
  for (const Words& more : std::vector<Words>{{"--m", "2"},
                                              {"--bits", "4"},
                                              {"--mode", "mxfp4"},
                                              {"--group-size", "32"},
                                              {"--dtype", "float32"},
                                              {"--no-transpose"}})
    refused(with(model, more), more[0] + ": tells of one product");
  refused(with(model, {"--prompt", "100", "--phase", "decode"}), "--prompt: --phase decode has no");
  refused(with(model, {"--machine", "nope"}), "--machine nope: unknown; ");
  refused(with(model, {"--ctx-size", "100"}), "--context 512: --ctx-size is 100");
  refused(with(model, {"--batch", "9223372036854775807"}), "--batch 9223372036854775807: not ");
  EXPECT_THAT(run(with(model, {"--machine", "server_avx512bf16", "--threads", "4"})).out,
              HasSubstr("server_avx512bf16, 4 threads"));
}

TEST(Refusals, InfoTellsOfTheMachineOrAModel) {
  for (const Words& more : std::vector<Words>{{"--device", "cuda"},
                                              {"-tp", "3"},
                                              {"--kernel", "foo"},
                                              {"--fast-int8"},
                                              {"--act-dtype", "float32"},
                                              {"--kv-bits", "4"}}) {
    Words all = {"info"};
    all.insert(all.end(), more.begin(), more.end());
    refused(all, more[0] == "-tp" ? "--tensor-parallel: tells how a model is run"
                                  : more[0] + ": tells how a model is run");
  }
  // A variable serves every command.
  EXPECT_EQ(run({"info"}, {{"STEPLESS_ACT_DTYPE", "float32"}}).exit, 0);
  refused({"info", "--model", demo(), "--ctx-size", "99999"}, "--ctx-size 99999: ");
  refused({"explain", "--model", demo(), "--ctx-size", "99999"}, "--ctx-size 99999: ");
  refused({"info", "--model", demo(), "--kv-cache-bytes", "foo"}, "--kv-cache-bytes: foo is no");
  const Finished small = run({"info", "--model", demo(), "--kv-cache-bytes", "30720", "--json"});
  const Json json = parse_json(small.out, "info");
  EXPECT_EQ(json["kv_room_tokens"], 10);
  EXPECT_EQ(json["fits"], false);
}

TEST(Refusals, InfoTellsCachesPlacementAndTheTemplatesStyles) {
  EXPECT_THAT(run({"info"}).out, AllOf(HasSubstr("\ncaches   "), HasSubstr("\nplaced   ")));
  const Json machine = parse_json(run({"info", "--json"}).out, "info");
  EXPECT_TRUE(machine["caches"].is_array());
  EXPECT_TRUE(machine["placement"]["cpus"].is_string());
  const std::string styled =
      file("styled.jinja", "{{ '<tool_call>' }}{{ '<think>' }}{{ messages[0].content }}");
  const Json json = parse_json(
      run({"info", "--model", demo(), "--chat-template-file", styled, "--json"}).out, "info");
  EXPECT_EQ(json["tool_style"], "hermes");
  EXPECT_EQ(json["reasoning_style"], "think");
  EXPECT_THAT(run({"info", "--model", demo()}).out, HasSubstr("; tool calls none, reasoning none"));
}

TEST(Refusals, FlagsThatNeedAnotherSayWhich) {
  for (const Words& more : std::vector<Words>{
           {"--kv-window", "10"}, {"--kv-group-size", "32"}, {"--quantized-kv-start", "3"}})
    refused({"generate", "--model", demo(), more[0], more[1]},
            more[0] + ": says how a quantized cache is kept; add --kv-bits 8 or 4");
  EXPECT_EQ(
      run({"generate", "--model", demo(), "--max-tokens", "1"}, {{"STEPLESS_KV_WINDOW", "9"}}).exit,
      0);
  refused({"convert", "--hf-path", demo(), "-q", "--quant-predicate", "mixed_3_6", "--q-bits", "3"},
          "--q-bits: --quant-predicate gives the widths");
  refused({"cache-prompt", "--model", demo(), "-p", "hi", "--prompt-file", "f"},
          "--prompt and --prompt-file: give one of them");
  refused({"--version", "--foo"}, "--foo: not expected; --version takes --json only");
}

TEST(Refusals, WhatCannotWorkTogetherIsToldBeforeAnythingIsComputed) {
  const Words cache = {"cache-prompt",
                       "--model",
                       "/nowhere",
                       "-p",
                       "hi",
                       "--prompt-cache-file",
                       scratch("never.safetensors")};
  for (const Words& more : std::vector<Words>{{"--kv-bits", "4"}, {"--max-kv-size", "8"}}) {
    Words all = cache;
    all.insert(all.end(), more.begin(), more.end());
    refused(all, more[0] + ": prompt caches hold every page");
  }
  refused_at_the_door({"--prompt-cache-file", "c", "--draft-model", "d"},
                      "--prompt-cache-file and --draft-model: ");
  refused({"generate", "--model", demo(), "--chat-template-config", "{bad"},
          "--chat-template-config {bad: ");
  refused({"generate", "--model", demo(), "--chat-template-config", "[1]"},
          "--chat-template-config [1]: no JSON object; e.g. {\"enable_thinking\": false}");
  refused({"generate", "--synthetic", "foo"}, "--synthetic: ");
  for (const char* count : {"0", "-5"})
    refused({"perplexity", "--model", demo(), "--data-path", "f.txt", "--num-samples", count},
            std::string("--num-samples ") + count + ": not a whole number from 1 to ");
}

}  // namespace
}  // namespace stepless::test
