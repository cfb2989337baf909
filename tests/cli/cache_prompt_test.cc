// cache-prompt and what continues it, as users meet them; beginnings shared within a batch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

using Words = std::vector<std::string>;

Finished stepless_run(Words first, const Words& more = {}, const std::string& input = "") {
  first.insert(first.end(), more.begin(), more.end());
  return run_program(STEPLESS_BINARY, {std::move(first), {}, input, 0});
}

std::string demo() { return models_dir() + "/tale-4bit"; }
std::string scratch(const std::string& name) { return scratch_dir("cache-prompt") + "/" + name; }

/// More than two pages of tokens.
std::string long_text() {
  std::string text = "Once upon a time there was a king";
  for (int i = 0; i < 20; ++i) text += " who was very fond of his daughter and of the sea";
  return text;
}

const std::string& cache_of_text() {
  static const std::string file = [] {
    std::string path = scratch("text.safetensors");
    const Finished done = stepless_run({"cache-prompt", "--model", demo(), "--ignore-chat-template",
                                        "--prompt", long_text(), "--prompt-cache-file", path});
    EXPECT_EQ(done.exit, 0) << done.err;
    return path;
  }();
  return file;
}

OrderedJson generate(const Words& more) {
  const Finished done =
      stepless_run({"generate", "--model", demo(), "--json", "--max-tokens", "16"}, more);
  EXPECT_EQ(done.exit, 0) << done.err;
  return parse_ordered_json(done.out, "output");
}

std::int64_t cached(const OrderedJson& result) {
  return result["usage"]["prompt_tokens_details"]["cached_tokens"].get<std::int64_t>();
}

TEST(CachePrompt, ContinuingTheFileHasTheBytesOfTheWholePrompt) {
  const Words raw = {"--ignore-chat-template", "--logprobs", "2", "--temp", "0.8", "--seed", "4"};
  Words whole = raw, rest = raw;
  whole.insert(whole.end(), {"--prompt", long_text() + ", and one day"});
  rest.insert(rest.end(), {"--prompt", ", and one day", "--prompt-cache-file", cache_of_text()});
  const OrderedJson want = generate(whole), got = generate(rest);
  for (const char* key : {"text", "tokens", "logprobs"}) EXPECT_EQ(got[key], want[key]) << key;
  EXPECT_EQ(got["usage"]["prompt_tokens"], want["usage"]["prompt_tokens"]);
  EXPECT_EQ(cached(want), 0);
  EXPECT_GE(cached(got), 128);
  EXPECT_EQ(cached(got) % 64, 0);
}

TEST(CachePrompt, ChatsAreContinuedInsideTheUsersMessage) {
  const std::string file = scratch("chat.safetensors");
  const Finished done =
      stepless_run({"cache_prompt", "--model", demo(), "--system-prompt", "You tell tales.",
                    "--prompt", "-", "--prompt-cache-file", file, "--use-default-chat-template"},
                   {}, long_text());
  ASSERT_EQ(done.exit, 0) << done.err;
  const OrderedJson want = generate({"--use-default-chat-template", "--system-prompt",
                                     "You tell tales.", "--prompt", long_text() + " Go on."}),
                    got = generate({"--use-default-chat-template", "--prompt", " Go on.",
                                    "--prompt-cache-file", file});
  EXPECT_EQ(got["tokens"], want["tokens"]);
  EXPECT_EQ(got["usage"]["prompt_tokens"], want["usage"]["prompt_tokens"]);
  EXPECT_GE(cached(got), 128);
}

TEST(CachePrompt, SaysWhatItWroteAndOnlyTheOwnerMayRead) {
  const std::string file = scratch("said.safetensors");
  const Words words = {"cache-prompt",           "--model",  demo(),
                       "--ignore-chat-template", "--prompt", long_text(),
                       "--prompt-cache-file",    file};
  const Finished text = stepless_run(words);
  EXPECT_EQ(text.exit, 0);
  EXPECT_THAT(text.out, AllOf(HasSubstr(file + ": "), HasSubstr(" tokens, "), HasSubstr(" MB")));
  EXPECT_THAT(text.err, AllOf(HasSubstr("Prompt: "), HasSubstr("Peak memory: ")));
  EXPECT_EQ(fs::status(file).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  const Finished json = stepless_run(words, {"--json", "--quiet"});
  EXPECT_EQ(json.err, "");
  const OrderedJson result = parse_ordered_json(json.out, "output");
  EXPECT_EQ(result["file"], file);
  EXPECT_EQ(result["bytes"], fs::file_size(file));
  EXPECT_EQ(result["stored_tokens"].get<int>(), result["tokens"].get<int>() / 64 * 64);
}

TEST(CachePrompt, AFileThatDoesNotFitIsExit3WithBothValues) {
  const auto refused = [](const Words& more, const std::string& words) {
    const Finished done = stepless_run({"generate", "--max-tokens", "2"}, more);
    EXPECT_EQ(done.exit, 3) << words;
    EXPECT_EQ(done.out, "");
    EXPECT_THAT(done.err, HasSubstr(words));
  };
  const std::string& file = cache_of_text();
  const Words other = {"--model", models_dir() + "/tale-draft-4bit", "--prompt-cache-file", file};
  refused(other, "(tale-4bit)");
  refused(other, "(tale-draft-4bit)");
  refused({"--model", demo(), "--act-dtype", "float32", "--prompt-cache-file", file},
          "here it is 'float32'");
  refused({"--model", demo(), "--prompt-cache-file", scratch("absent")}, "absent");
  refused({"--model", demo(), "--prompt-cache-file", demo() + "/model.safetensors"},
          "no prompt cache of Stepless");
  const std::string cut = scratch("cut.safetensors");
  fs::copy_file(file, cut);
  fs::resize_file(cut, fs::file_size(cut) - 1);
  refused({"--model", demo(), "--prompt-cache-file", cut}, "cut.safetensors");
}

TEST(CachePrompt, UsageThatMakesNoSenseIsExit2) {
  const Words save = {"cache-prompt", "--model", demo()};
  EXPECT_EQ(stepless_run(save, {"--prompt", "a"}).exit, 2);
  EXPECT_EQ(stepless_run(save, {"--prompt-cache-file", scratch("none")}).exit, 2);
  EXPECT_EQ(stepless_run(save, {"--prompt", "", "--ignore-chat-template", "--prompt-cache-file",
                                scratch("none")})
                .exit,
            2);
  EXPECT_FALSE(fs::exists(scratch("none")));
  const Words use = {"generate", "--model", demo(), "--prompt-cache-file", cache_of_text()};
  EXPECT_THAT(stepless_run(use, {"--prompt-cache-size", "0"}).err, HasSubstr("nothing is reused"));
  EXPECT_EQ(stepless_run(use, {"--prompt-cache-size", "0"}).exit, 2);
  EXPECT_EQ(stepless_run(use, {"--prompt-cache-size", "7"}).exit, 2);
  const Finished system = stepless_run(use, {"--system-prompt", "x"});
  EXPECT_EQ(system.exit, 2);
  EXPECT_THAT(system.err, HasSubstr("give it to cache-prompt"));
  // Context: the cached tokens count.
  const Finished narrow = stepless_run(use, {"--ctx-size", "128", "--prompt", "a"});
  EXPECT_EQ(narrow.exit, 2);
  EXPECT_THAT(narrow.err, HasSubstr("no room in a context of 128"));
}

TEST(CachePrompt, APipeIsLeftAloneAndALinkIsFollowed) {
  const Words words = {"cache-prompt", "--model", demo(), "--prompt", "hi", "--prompt-cache-file"};
  const std::string pipe = scratch("pipe"), target = scratch("target"), link = scratch("link");
  for (const std::string& each : {pipe, target, link}) fs::remove(each);
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const Finished refused = stepless_run(words, {pipe});
  EXPECT_EQ(refused.exit, 2) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("--prompt-cache-file " + pipe + ": neither a file nor free"));
  EXPECT_TRUE(fs::is_fifo(pipe));
  std::ofstream(target) << "before";
  fs::create_symlink(target, link);
  EXPECT_EQ(stepless_run(words, {link}).exit, 0);
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_GT(fs::file_size(target), 100u);
}

TEST(CachePrompt, AFolderThatCannotBeWrittenIsExit1) {
  const Finished done = stepless_run({"cache-prompt", "--model", demo(), "--prompt", "a",
                                      "--prompt-cache-file", scratch("absent-folder") + "/c"});
  EXPECT_EQ(done.exit, 1);
  EXPECT_THAT(done.err, HasSubstr("absent-folder"));
  EXPECT_EQ(done.out, "");
}

TEST(PromptCacheSize, ABatchWithACommonBeginningComputesItOnce) {
  const std::string file = scratch("prompts.jsonl");
  std::ofstream lines(file);
  for (const char* end : {" in spring.", " in the dark wood, where", "", " and"})
    lines << OrderedJson{{"prompt", long_text() + end}}.dump() << "\n";
  lines.close();
  const auto run = [&](const Words& more) {
    const Finished done = stepless_run({"generate", "--model", demo(), "--ignore-chat-template",
                                        "--json", "--max-tokens", "12", "--prompts", file},
                                       more);
    EXPECT_EQ(done.exit, 0) << done.err;
    std::vector<OrderedJson> rows;
    std::istringstream out(done.out);
    for (std::string row; std::getline(out, row);) rows.push_back(parse_ordered_json(row, "row"));
    EXPECT_EQ(rows.size(), 4u);
    return std::pair(rows, done.err);
  };
  const auto [shared, said] = run({});
  const auto [alone, quiet] = run({"--prompt-cache-size", "0"});
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(shared[i]["tokens"], alone[i]["tokens"]);
    EXPECT_EQ(cached(alone[i]), 0);
    EXPECT_EQ(cached(shared[i]) > 0, i > 0) << i;
  }
  EXPECT_THAT(said, HasSubstr("Cached: "));
  EXPECT_THAT(quiet, testing::Not(HasSubstr("Cached: ")));
}

}  // namespace
}  // namespace stepless::test
