// Drafts as users meet them: the same text, the acceptance that is printed, the refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

Finished generate(std::vector<std::string> more) {
  std::vector<std::string> all = {"generate",
                                  "--model",
                                  models_dir() + "/tale-4bit",
                                  "--ignore-chat-template",
                                  "--prompt",
                                  "A fox and a crow lived. A fox and a crow"};
  all.insert(all.end(), more.begin(), more.end());
  return run_program(STEPLESS_BINARY, {std::move(all), {}, "", 0});
}

std::string draft() { return models_dir() + "/tale-draft-4bit"; }

TEST(Drafts, TheTextIsTheSameAndAcceptanceIsPrinted) {
  for (const std::vector<std::string>& sampling : std::vector<std::vector<std::string>>{
           {"--max-tokens", "24"}, {"--max-tokens", "24", "--temp", "0.8", "--seed", "5"}}) {
    const Finished plain = generate(sampling);
    EXPECT_EQ(plain.exit, 0) << plain.err;
    EXPECT_THAT(plain.err, Not(HasSubstr("draft")));
    for (const std::vector<std::string>& source : std::vector<std::vector<std::string>>{
             {"--draft-model", draft()},
             {"-md", draft(), "--draft-max", "5"},
             {"--model-draft", draft(), "--num-draft-tokens", "1"},
             {"--prompt-lookup", "2"}}) {
      std::vector<std::string> all = sampling;
      all.insert(all.end(), source.begin(), source.end());
      const Finished done = generate(all);
      EXPECT_EQ(done.exit, 0) << done.err;
      EXPECT_EQ(done.out, plain.out) << source[0];
      EXPECT_THAT(done.err, ContainsRegex("Floor: .* % reached; draft [0-9]+/[0-9]+ accepted\n"));
    }
  }
}

TEST(Drafts, JsonCountsThem) {
  const auto usage = [](std::vector<std::string> more) {
    more.insert(more.end(), {"--json", "--max-tokens", "30"});
    const Finished done = generate(more);
    EXPECT_EQ(done.exit, 0) << done.err;
    const OrderedJson json = parse_ordered_json(done.out, "output");
    EXPECT_EQ(json["usage"]["drafted"], json["timings"]["drafted"]) << "one prompt";
    EXPECT_EQ(json["usage"]["accepted"], json["timings"]["accepted"]);
    return json["usage"];
  };
  const OrderedJson none = usage({}), off = usage({"-md", draft(), "--num-draft-tokens", "0"});
  EXPECT_EQ(none["drafted"], 0);
  EXPECT_EQ(off["drafted"], 0);
  const OrderedJson self = usage({"--draft-model", models_dir() + "/tale-4bit"});
  EXPECT_GT(self["drafted"], 10);
  EXPECT_EQ(self["accepted"], self["drafted"]);
  const OrderedJson other = usage({"--draft-model", draft()});
  EXPECT_GT(other["accepted"], 0);
  EXPECT_LT(other["accepted"], other["drafted"]);
}

TEST(Drafts, RefusalsSayWhatWouldBeRight) {
  struct Case {
    std::vector<std::string> flags;
    int exit;
    const char* words;
  };
  const Case cases[] = {
      {{"--num-draft-tokens", "3"}, 2, "give --draft-model ID, or --prompt-lookup N"},
      {{"--draft-model", draft(), "--num-draft-tokens", "17"}, 2, "17"},
      {{"--draft-model", draft(), "--prompt-lookup", "2"}, 2, "give one of them"},
      {{"--prompt-lookup", "-1"}, 2, "prompt-lookup"},
      {{"--draft-model", "/nowhere/at/all"}, 3, "/nowhere/at/all"},
  };
  for (const Case& c : cases) {
    const Finished done = generate(c.flags);
    EXPECT_EQ(done.exit, c.exit) << done.err;
    EXPECT_EQ(done.out, "");
    EXPECT_THAT(done.err, HasSubstr(c.words));
  }
}

}  // namespace
}  // namespace stepless::test
