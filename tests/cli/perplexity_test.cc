// stepless perplexity as users meet it: mlx-lm's lines, JSON, a comparison, exit codes.
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
using testing::MatchesRegex;
using testing::Not;

std::string draft() { return models_dir() + "/tale-draft-4bit"; }

std::string write_tale(const std::string& name, const std::string& text) {
  const std::string path = scratch_dir("perplexity") + "/" + name;
  std::ofstream(path) << text;
  return path;
}

/// A tale long enough for a few windows of 16 tokens.
std::string tale() {
  std::string text;
  for (int i = 0; i < 8; ++i) text += "Once upon a time there was a king who had a daughter. ";
  return write_tale("tale.txt", text);
}

Finished perplexity(std::vector<std::string> more, const std::string& data = tale()) {
  std::vector<std::string> all = {"perplexity",        "--model", draft(),       "-t", "1",
                                  "--sequence-length", "16",      "--data-path", data};
  all.insert(all.end(), more.begin(), more.end());
  return run_program(STEPLESS_BINARY, {std::move(all), {}, "", 0});
}

TEST(Perplexity, PrintsTheLinesOfMlx) {
  const Finished done = perplexity({"--num-samples", "3"});
  EXPECT_EQ(done.exit, 0) << done.err;
  EXPECT_THAT(done.out, MatchesRegex("Perplexity: [0-9]+\\.[0-9]{3} ± [0-9]+\\.[0-9]{3}\n"
                                     "Evaluation time: [0-9.]+ seconds\n"
                                     "Peak memory: [0-9.]+ GB\n"
                                     "Tokens per second: [0-9]+\n"
                                     "Total samples: 3\n"
                                     "Total tokens: 48\n"));
  EXPECT_EQ(done.err, "");
  const Finished quiet = perplexity({"--num-samples", "3", "--quiet"});
  EXPECT_EQ(quiet.out, done.out.substr(0, done.out.find('\n') + 1));
}

TEST(Perplexity, BatchesChangeNoFigureAndJsonHasThemAll) {
  const auto json_of = [](const char* batch) {
    const Finished done = perplexity({"--json", "--batch-size", batch});
    EXPECT_EQ(done.exit, 0) << done.err;
    EXPECT_THAT(done.err, HasSubstr("of the 256 samples asked for"));
    return parse_ordered_json(done.out, "output");
  };
  const OrderedJson one = json_of("1"), many = json_of("64");
  for (const char* key : {"perplexity", "perplexity_error", "mean_nll", "samples", "tokens",
                          "predictions", "sequence_length", "seed"})
    EXPECT_EQ(one[key], many[key]) << key;
  EXPECT_GT(one["perplexity"].get<double>(), 1);
  EXPECT_EQ(one["predictions"].get<int>(), one["samples"].get<int>() * 15);
  EXPECT_TRUE(one.contains("seconds") && one.contains("tokens_per_second") &&
              one.contains("peak_memory_bytes"));
  EXPECT_FALSE(one.contains("kl"));
}

TEST(Perplexity, ComparesWithAnotherModel) {
  const Finished other =
      perplexity({"--num-samples", "3", "--kl-with", models_dir() + "/tale-4bit", "--quiet"});
  EXPECT_EQ(other.exit, 0) << other.err;
  EXPECT_THAT(other.out,
              MatchesRegex("Perplexity: [^\n]+\n"
                           "KL divergence: [0-9]+\\.[0-9]{6} mean, [0-9]+\\.[0-9]{6} p99\n"
                           "Top-1 agreement: [0-9.]+ %\n"));
  EXPECT_THAT(other.out, Not(HasSubstr("KL divergence: 0.000000")));
  const Finished same = perplexity({"--num-samples", "3", "--kl-with", draft(), "--json"});
  const OrderedJson json = parse_ordered_json(same.out, "output");
  EXPECT_EQ(json["kl"]["mean"], 0.0);
  EXPECT_EQ(json["kl"]["p99"], 0.0);
  EXPECT_EQ(json["kl"]["top1_agreement"], 1.0);
  const Finished missing = perplexity({"--kl-with", "no-such-model"});
  EXPECT_EQ(missing.exit, 3);
  EXPECT_THAT(missing.err, HasSubstr("no-such-model"));
}

TEST(Perplexity, ErrorsHaveTheirExitCodes) {
  const auto refused = [](int exit, const char* words, const Finished& done) {
    EXPECT_EQ(done.exit, exit) << words << ": " << done.err;
    EXPECT_THAT(done.err, AllOf(testing::StartsWith("error: "), HasSubstr(words)));
    EXPECT_EQ(done.out, "");
  };
  refused(2, "--data-path: none given",
          run_program(STEPLESS_BINARY, {{"perplexity", "--model", draft()}, {}, "", 0}));
  refused(2, "absent.txt: cannot be opened", perplexity({}, "absent.txt"));
  refused(2, "empty.txt: no text in it", perplexity({}, write_tale("empty.txt", "")));
  refused(2, "tokens; a window takes 16", perplexity({}, write_tale("one.txt", "a")));
  refused(2, "key.jsonl:1: no document", perplexity({}, write_tale("key.jsonl", "{\"a\": 1}\n")));
  refused(2, "--ctx-size is 8", perplexity({"--ctx-size", "8"}));
  refused(4, "--kv-cache-bytes 1K: ", perplexity({"--kv-cache-bytes", "1K"}));
  refused(2, "the context of tale-draft-4bit is 2048",
          run_program(STEPLESS_BINARY, {{"perplexity", "--model", draft(), "--sequence-length",
                                         "3000", "--num-samples", "2", "--data-path",
                                         write_tale("long.txt", std::string(40000, 'x') + " y z")},
                                        {},
                                        "",
                                        0}));
}

TEST(Perplexity, CtrlCEndsIt) {
  // All windows of a long text: a short run would be over before the signal. In the foreground,
  // else timeout signals twice (the process and its group), and a second Ctrl-C ends at once.
  std::string text;
  for (int i = 0; i < 4000; ++i) text += "Once upon a time there was a king who had a daughter. ";
  const std::string data = write_tale("long-tale.txt", text);
  const Finished done = run_program(
      "/usr/bin/timeout", {{"--foreground", "--preserve-status", "-s", "INT", "2", STEPLESS_BINARY,
                            "perplexity", "--model", models_dir() + "/tale-4bit", "-t", "1",
                            "--num-samples", "-1", "--data-path", data},
                           {},
                           "",
                           0});
  EXPECT_EQ(done.exit, 130) << done.err;
  EXPECT_THAT(done.err, HasSubstr("interrupted: evaluation: stopped after "));
  EXPECT_EQ(done.out, "");
}

}  // namespace
}  // namespace stepless::test
