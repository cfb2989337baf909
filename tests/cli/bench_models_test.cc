// stepless bench of a model, batch-bench and benchmark as users meet them. No time is judged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

std::string model() { return models_dir() + "/tale-draft-4bit"; }

Finished stepless(std::vector<std::string> words) {
  return run_program(STEPLESS_BINARY, {std::move(words), {}, "", 0});
}

/// A model's table of little tests; `more` may set others.
Finished table(std::vector<std::string> more) {
  std::vector<std::string> words = {"bench", "-m", model(), "-r", "2", "-t", "1"};
  words.insert(words.end(), more.begin(), more.end());
  return stepless(words);
}

std::vector<std::string> tests_in(const std::string& json) {
  std::vector<std::string> names;
  const OrderedJson output = parse_ordered_json(json, "output");
  for (const OrderedJson& row : output["rows"]) names.push_back(row["test"].get<std::string>());
  return names;
}

TEST(BenchModels, PrintsLlamasColumns) {
  const Finished done = table({"-p", "8", "-n", "4"});
  ASSERT_EQ(done.exit, 0) << done.err;
  std::istringstream in(done.out);
  std::string head, line, row;
  std::getline(in, head), std::getline(in, line), std::getline(in, row);
  std::size_t at = 0;
  for (const char* title : {"| model", "| ", "size |", "params |", "| backend", "threads |",
                            "test |", "t/s |", "GB/s |", "% floor |"}) {
    const std::size_t next = head.find(title, at);
    ASSERT_NE(next, std::string::npos) << title << " in " << head;
    at = next;
  }
  EXPECT_THAT(row, AllOf(HasSubstr("tale-draft-4bit"), HasSubstr(" MiB"), HasSubstr(" M "),
                         HasSubstr("| CPU"), HasSubstr("pp8 |"), HasSubstr(" ± ")));
  EXPECT_THAT(done.out, AllOf(HasSubstr("tg4 |"), HasSubstr("\nbuild: ")));
}

TEST(BenchModels, NamesTestsAsLlamaBenchDoes) {
  const Finished done =
      table({"-p", "0,8-16*2", "-n", "2", "-pg", "8,4", "-pg", "4,2", "-d", "0,64", "--json"});
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_THAT(tests_in(done.out),
              testing::ElementsAre("pp8", "pp16", "tg2", "pp8+tg4", "pp4+tg2", "pp8 @ d64",
                                   "pp16 @ d64", "tg2 @ d64", "pp8+tg4 @ d64", "pp4+tg2 @ d64"));
}

TEST(BenchModels, AShorterPromptLeavesALongerOneNothing) {
  const Finished done = table({"-p", "64,128", "-n", "0", "--json"});
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_THAT(tests_in(done.out), testing::ElementsAre("pp64", "pp128"));
}

TEST(BenchModels, RowsHaveLlamasKeysAndAddUp) {
  const Finished done = table({"-p", "8", "-n", "4", "-r", "3", "--json"});
  ASSERT_EQ(done.exit, 0) << done.err;
  const OrderedJson json = parse_ordered_json(done.out, "output");
  EXPECT_EQ(json["bench"], "models");
  for (const char* field : {"machine", "build", "ceilings", "method", "key"})
    EXPECT_FALSE(json[field].is_null()) << field;
  ASSERT_EQ(json["rows"].size(), 2u);
  for (const OrderedJson& row : json["rows"]) {
    for (const char* key :
         {"build_commit",   "build_number", "cpu_info",   "gpu_info",       "backends",
          "model_filename", "model_type",   "model_size", "model_n_params", "n_batch",
          "n_ubatch",       "n_threads",    "type_k",     "type_v",         "n_gpu_layers",
          "n_prompt",       "n_gen",        "n_depth",    "test_time",      "avg_ns",
          "stddev_ns",      "avg_ts",       "stddev_ts",  "samples_ns",     "samples_ts"})
      EXPECT_TRUE(row.contains(key)) << key;
    ASSERT_EQ(row["samples_ns"].size(), 3u);
    double sum = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const auto ns = row["samples_ns"][i].get<double>(), ts = row["samples_ts"][i].get<double>();
      const auto tokens = row["n_prompt"].get<double>() + row["n_gen"].get<double>();
      EXPECT_NEAR(ts, tokens * 1e9 / ns, ts * 1e-9);
      sum += ts;
    }
    EXPECT_NEAR(row["avg_ts"].get<double>(), sum / 3, sum * 1e-9);
    EXPECT_NEAR(row["floor_pct"].get<double>(),
                100 * row["floor_us"].get<double>() / row["us"].get<double>(), 1e-6);
    EXPECT_GT(row["gb_s"].get<double>(), 0);
  }
}

TEST(BenchModels, WritesCsvSqlAndToStderr) {
  const Finished done = table({"-p", "4", "-n", "0", "-o", "sql", "-oe", "csv"});
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_THAT(done.out, AllOf(StartsWith("CREATE TABLE IF NOT EXISTS llama_bench ("),
                              HasSubstr("  avg_ts REAL"), HasSubstr("  n_prompt INTEGER"),
                              HasSubstr("  test TEXT"), HasSubstr("INSERT INTO llama_bench (")));
  EXPECT_THAT(done.err, AllOf(HasSubstr("build_commit,"), HasSubstr(",pp4,")));
}

TEST(BenchModels, VariesThreadsRowsAndModels) {
  const Finished done = table({"-p", "8", "-n", "0", "-t", "1,2", "-ub", "4,64", "--json"});
  ASSERT_EQ(done.exit, 0) << done.err;
  std::vector<std::pair<int, int>> seen;
  const OrderedJson json = parse_ordered_json(done.out, "output");
  for (const OrderedJson& row : json["rows"]) seen.emplace_back(row["n_threads"], row["n_ubatch"]);
  EXPECT_THAT(seen, testing::ElementsAre(std::pair(1, 4), std::pair(1, 64), std::pair(2, 4),
                                         std::pair(2, 64)));
  const Finished two = stepless({"bench", "-m", model() + "," + model(), "-p", "2", "-n", "0", "-r",
                                 "1", "-b", "8", "-o", "jsonl"});
  EXPECT_EQ(std::ranges::count(two.out, '\n'), 3) << two.out << two.err;  // two rows, the rest
  EXPECT_THAT(two.out, HasSubstr("\"n_ubatch\":8"));  // the lesser of -b and -ub
}

TEST(BenchModels, KeepsKeysQuantized) {
  const Finished done =
      table({"-p", "8", "-n", "2", "-ctk", "q8_0", "-ctv", "q8_0", "--quantized-kv-start", "0"});
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_THAT(done.out, AllOf(HasSubstr("| type_k"), HasSubstr("| q8_0")));
}

TEST(BenchModels, RefusesWhatCannotBe) {
  const std::pair<std::vector<std::string>, const char*> bad[] = {
      {{"-p", "0", "-n", "0"}, "no test"},
      {{"-pg", "8"}, "-pg 8: not PROMPT,GEN"},
      {{"-pg", "0,4"}, "counts from 1 on"},
      {{"-d", "10"}, "--n-depth 10"},
      {{"-p", "100000000"}, "was trained with"},
      {{"-t", "2000"}, "--threads 2000"},
      {{"--m", "1"}, "--m: no flag of bench of a model; it belongs to bench qmm"},
      {{"-ngl", "7"}, "-ngl 7"},
      {{"--variants", "kv=4"}, "belongs to bench prompt"}};
  for (const auto& [words, message] : bad) {
    const Finished done = table(words);
    EXPECT_EQ(done.exit, 2) << words[0];
    EXPECT_THAT(done.err, HasSubstr(message));
  }
  EXPECT_EQ(stepless({"bench", "-m", "/nowhere"}).exit, 3);
  EXPECT_EQ(stepless({"bench", "--synthetic", "qwen9"}).exit, 2);
}

TEST(BenchPrompt, HasARowPerVariant) {
  const Finished done = stepless({"bench", "prompt", "-m", model(), "-p", "200", "-n", "4", "-t",
                                  "1", "--variants", "kv=16,kv=8,kv=4 window=64", "--json"});
  ASSERT_EQ(done.exit, 0) << done.err;
  const OrderedJson json = parse_ordered_json(done.out, "output");
  ASSERT_EQ(json["rows"].size(), 3u);
  EXPECT_EQ(json["rows"][2]["variant"], "kv=4 window=64");
  for (const OrderedJson& row : json["rows"])
    for (const char* key : {"ttft_s", "prompt_ts", "gen_ts", "peak_gb", "kv_gb", "us",
                            "prompt_floor_pct", "gen_floor_pct"})
      EXPECT_GT(row[key].get<double>(), 0) << key;
  for (const char* wrong : {"kv=5", "kv", "window=64", "kv=4 speed=1"}) {
    const Finished refused =
        stepless({"bench", "prompt", "-m", model(), "-p", "8", "-n", "1", "--variants", wrong});
    EXPECT_EQ(refused.exit, 2) << wrong;
    EXPECT_THAT(refused.err, HasSubstr("--variants")) << wrong;
  }
}

TEST(BatchBench, PrintsLlamasColumnsAndAddsUp) {
  const Finished done = stepless({"batch-bench", "-m", model(), "-t", "1", "-npp", "8,80", "-ntg",
                                  "4", "-npl", "1,3", "--json"});
  ASSERT_EQ(done.exit, 0) << done.err;
  const OrderedJson json = parse_ordered_json(done.out, "output");
  ASSERT_EQ(json["rows"].size(), 4u);
  for (const OrderedJson& row : json["rows"]) {
    const auto of = [&](const char* key) { return row[key].get<double>(); };
    EXPECT_EQ(of("n_kv"), of("pl") * (of("pp") + of("tg")));
    EXPECT_NEAR(of("speed_pp"), of("pl") * of("pp") / of("t_pp"), 1e-6 * of("speed_pp"));
    EXPECT_NEAR(of("speed_tg"), of("pl") * of("tg") / of("t_tg"), 1e-6 * of("speed_tg"));
    EXPECT_NEAR(of("speed_per_sequence"), of("speed_tg") / of("pl"), 1e-6 * of("speed_tg"));
    EXPECT_NEAR(of("t"), of("t_pp") + of("t_tg"), 1e-9);
    EXPECT_GT(of("tg_floor_pct"), 0);
  }
  const Finished shared = stepless(
      {"batch-bench", "-m", model(), "-t", "1", "-npp", "8", "-ntg", "4", "-npl", "2", "-pps"});
  EXPECT_EQ(shared.exit, 0) << shared.err;
  EXPECT_THAT(shared.out, AllOf(HasSubstr("T_PP s |"), HasSubstr("S_TG t/s |"), HasSubstr("N_KV |"),
                                HasSubstr("|   16 |")));
}

TEST(BatchBench, StaggersRequestsOfManyLengths) {
  const std::vector<std::string> words = {"batch-bench",
                                          "-m",
                                          model(),
                                          "-t",
                                          "1",
                                          "--staggered",
                                          "-npl",
                                          "1,4",
                                          "--num-seqs",
                                          "6",
                                          "--max-input-len",
                                          "40",
                                          "--max-output-len",
                                          "20",
                                          "--json"};
  const Finished done = stepless(words);
  ASSERT_EQ(done.exit, 0) << done.err;
  const OrderedJson json = parse_ordered_json(done.out, "output");
  ASSERT_EQ(json["rows"].size(), 2u);
  // The same requests, one at a time and four at a time.
  EXPECT_EQ(json["rows"][0]["prompt_tokens"], json["rows"][1]["prompt_tokens"]);
  EXPECT_GE(json["rows"][0]["prompt_tokens"].get<int>(), 6 * 32);
  EXPECT_LE(json["rows"][0]["gen_tokens"].get<int>(), 6 * 20);
  const Finished few =
      stepless({"batch-bench", "-m", model(), "--staggered", "--num-seqs", "3", "-npl", "4"});
  EXPECT_EQ(few.exit, 2);
  EXPECT_THAT(few.err, HasSubstr("--num-seqs 3"));
  EXPECT_EQ(stepless({"batch-bench", "-m", model(), "--num-seqs", "3"}).exit, 2);
}

TEST(BatchBench, RefusesWhatDoesNotFit) {
  const Finished pages = stepless({"batch-bench", "-m", model(), "-npp", "64", "-ntg", "8", "-npl",
                                   "8", "--kv-cache-bytes", "64K"});
  EXPECT_EQ(pages.exit, 4) << pages.err;
  const Finished context =
      stepless({"batch-bench", "-m", model(), "-npp", "500000", "-ntg", "8", "-npl", "1"});
  EXPECT_EQ(context.exit, 2);
  EXPECT_THAT(context.err, HasSubstr("has room for"));
  EXPECT_EQ(stepless({"batch-bench", "-m", model(), "-npl", "0"}).exit, 2);
}

TEST(Benchmark, SpeaksAsMlxDoes) {
  const Finished done = stepless(
      {"benchmark", "--model", model(), "-t", "1", "-p", "16", "-g", "4", "-b", "2", "-n", "2"});
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_THAT(done.out,
              AllOf(StartsWith("Running warmup..\nTiming with prompt_tokens=16, "
                               "generation_tokens=4, batch_size=2.\nTrial 1:  prompt_tps="),
                    HasSubstr("\nTrial 2:  prompt_tps="), HasSubstr(", generation_tps="),
                    HasSubstr(", peak_memory="), HasSubstr("\nAverages: prompt_tps=")));
  const Finished json = stepless(
      {"benchmark", "--model", model(), "-t", "1", "-p", "16", "-g", "4", "-n", "2", "--json"});
  const OrderedJson output = parse_ordered_json(json.out, "output");
  ASSERT_EQ(output["trials"].size(), 2u);
  EXPECT_NEAR(output["averages"]["prompt_tps"].get<double>(),
              (output["trials"][0]["prompt_tps"].get<double>() +
               output["trials"][1]["prompt_tps"].get<double>()) /
                  2,
              1e-6);
  EXPECT_EQ(stepless({"benchmark", "--model", model(), "-n", "0"}).exit, 2);
}

}  // namespace
}  // namespace stepless::test
