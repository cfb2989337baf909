// stepless bench as users meet it: tables, formats, the envelope, refusals. No time is judged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <sstream>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Finished bench(std::vector<std::string> words, std::map<std::string, std::string> more = {}) {
  words.insert(words.begin(), "bench");
  return run_program(STEPLESS_BINARY, {std::move(words), std::move(more), "", 0});
}

/// A shape so small that the whole takes no time.
Finished qmm(std::vector<std::string> more) {
  more.insert(more.begin(), {"qmm", "--shapes", "64x128", "-r", "2", "--warm"});
  return bench(std::move(more));
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(BenchQmm, PrintsTheTableAndTheReport) {
  const Finished done = qmm({"--m", "1-2,8"});
  ASSERT_EQ(done.exit, 0) << done.err;
  const std::vector<std::string> lines = lines_of(done.out);
  ASSERT_GT(lines.size(), 7u);
  EXPECT_THAT(lines[0], AllOf(HasSubstr("| kernel"), HasSubstr("GB/s"), HasSubstr("TFLOP/s"),
                              HasSubstr("% floor"), HasSubstr("m/m1")));
  EXPECT_THAT(lines[2], HasSubstr("| qmm_"));
  EXPECT_THAT(lines[6], HasSubstr("ceilings: one thread read "));
  EXPECT_THAT(done.out, HasSubstr("\n64x128 b4 g64: flat 1.."));
  EXPECT_THAT(done.out, HasSubstr(", knee "));
}

TEST(BenchQmm, JsonIsTheEnvelope) {
  for (const std::vector<std::string>& how :
       {std::vector<std::string>{"--json"}, std::vector<std::string>{"-o", "json"}}) {
    std::vector<std::string> words = {"--m", "1,3"};
    words.insert(words.end(), how.begin(), how.end());
    const Finished done = qmm(words);
    ASSERT_EQ(done.exit, 0) << done.err;
    const OrderedJson json = parse_ordered_json(done.out, "output");
    for (const char* field : {"schema", "machine", "build", "command", "date", "ceilings", "rows"})
      EXPECT_TRUE(json.contains(field)) << field;
    for (const char* field :
         {"digest", "cpu", "caches", "threads", "placement", "gpu", "driver", "memory"})
      EXPECT_TRUE(json["machine"].contains(field)) << field;
    EXPECT_THAT(json["command"].get<std::string>(), HasSubstr("stepless bench qmm --shapes"));
    ASSERT_EQ(json["rows"].size(), 2u);
    const OrderedJson& row = json["rows"][1];
    EXPECT_EQ(row["m"], 3);
    EXPECT_EQ(row["n"], 64);
    EXPECT_EQ(row["cold"], false);
    for (const char* field : {"us", "us_min", "us_max", "gb_s", "tflop_s", "floor_us", "floor_pct"})
      EXPECT_GT(row[field].get<double>(), 0) << field;
    EXPECT_LE(row["us_min"], row["us"]);
    EXPECT_LE(row["us"], row["us_max"]);
    EXPECT_NEAR(row["floor_pct"].get<double>(),
                100 * row["floor_us"].get<double>() / row["us"].get<double>(), 1e-6);
  }
}

TEST(BenchQmm, CsvAndJsonlHaveARowEach) {
  const std::vector<std::string> csv = lines_of(qmm({"--m", "1-3", "-o", "csv"}).out);
  ASSERT_EQ(csv.size(), 4u);
  EXPECT_THAT(csv[0], testing::StartsWith("n,k,m,format,kernel,cold,us,"));
  EXPECT_THAT(csv[3], testing::StartsWith("64,128,3,qmm affine b4 g64 bf16,qmm_"));
  const std::vector<std::string> jsonl = lines_of(qmm({"--m", "1-3", "--jsonl"}).out);
  ASSERT_EQ(jsonl.size(), 4u);
  EXPECT_EQ(parse_json(jsonl[2], "row")["m"], 3);
  EXPECT_FALSE(parse_json(jsonl[3], "envelope").contains("rows"));
}

TEST(BenchQmm, ReadsListsAsLlamaBenchDoes) {
  const std::pair<const char*, std::vector<int>> lists[] = {
      {"1-4", {1, 2, 3, 4}}, {"1-7+3", {1, 4, 7}}, {"1-9*2,3", {1, 2, 4, 8, 3}}, {"5,5", {5}}};
  for (const auto& [text, want] : lists) {
    const Finished done = qmm({"--m", text, "--json"});
    ASSERT_EQ(done.exit, 0) << done.err;
    std::vector<int> got;
    const auto output = parse_json(done.out, "output");
    for (const auto& row : output["rows"]) got.push_back(row["m"]);
    EXPECT_EQ(got, want) << text;
  }
  for (const char* bad : {"a", "4-1", "1-4+0", "1-4*1", "0-4*2", "1,,2", "1-", "1-4x"}) {
    const Finished done = qmm({"--m", bad, "--json"});
    EXPECT_EQ(done.exit, 2) << bad;
  }
  EXPECT_THAT(qmm({"--m", "4-1"}).err, HasSubstr("--m 4-1: \"4-1\" is no list"));
  EXPECT_THAT(bench({"qmm", "--shapes", "64"}).err, HasSubstr("--shapes 64: \"64\" is no shape"));
}

TEST(BenchQmm, TakesTheShapesOfAModel) {
  const Finished done = bench({"qmm", "--model", models_dir() + "/tale-draft-4bit", "--m", "1",
                               "-r", "1", "--warm", "-o", "csv"});
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_GT(lines_of(done.out).size(), 2u);
  EXPECT_EQ(bench({"qmm", "--model", "demo", "--shapes", "64x64"}).exit, 2);
  EXPECT_EQ(bench({"qmm", "--model", "/nowhere"}).exit, 3);
}

TEST(BenchQmm, AStepIsExitSix) {
  // Two rows of a product against the portable kernel's two at a time: whatever the times are, exit
  // and report have to agree.
  const Finished done =
      qmm({"--m", "1-9", "--assert-no-step", "--kernel", "qmm_wany_bany_fany_m2n1_cpu", "-r", "5"});
  const bool step = done.out.find("STEP m=") != std::string::npos;
  EXPECT_EQ(done.exit, step ? 6 : 0) << done.out << done.err;
  EXPECT_EQ(done.err.find("--assert-no-step") != std::string::npos, step);
}

TEST(Bench, RefusesFlagsOfAnotherPart) {
  const Finished done = bench({"ceilings", "--shapes", "64x64"});
  EXPECT_EQ(done.exit, 2);
  EXPECT_THAT(
      done.err,
      HasSubstr("--shapes: no flag of bench ceilings; it belongs to bench qmm, bench gather"));
  EXPECT_EQ(bench({"qmm", "--save-machine", "a.json"}).exit, 2);
  const Finished none = bench({});
  EXPECT_EQ(none.exit, 2);
  EXPECT_THAT(none.err, HasSubstr("-m MODEL"));
  EXPECT_THAT(bench({"qmm", "a.json"}).err, HasSubstr("a.json: not expected"));
  EXPECT_EQ(bench({"flop"}).exit, 2);
  EXPECT_EQ(qmm({"--bits", "7"}).exit, 2);
  EXPECT_THAT(qmm({"--bits", "7"}).err, HasSubstr("7"));
  EXPECT_EQ(qmm({"--json", "-o", "csv"}).exit, 2);
}

TEST(Bench, AVariableForAnotherPartIsNoError) {
  const Finished done = bench({"ceilings", "-r", "1", "-o", "csv"}, {{"STEPLESS_SHAPES", "64x64"}});
  EXPECT_EQ(done.exit, 0) << done.err;
}

TEST(BenchCeilings, SavesAProfileThatExplainReads) {
  const std::string path = scratch_dir("bench") + "/machine.json";
  const Finished done = bench({"ceilings", "-r", "2", "-t", "2", "--save-machine", path});
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_THAT(done.out, AllOf(HasSubstr("| read"), HasSubstr("| region"), HasSubstr("| f32")));
  const Finished explained = run_program(
      STEPLESS_BINARY, {{"explain", "--n", "4096", "--k", "4096", "--machine", path}, {}, "", 0});
  EXPECT_EQ(explained.exit, 0) << explained.err;
  EXPECT_THAT(explained.out, HasSubstr("stepless bench ceilings -t 2"));
  EXPECT_THAT(bench({"ceilings", "--save-machine", "plain"}).err, HasSubstr(".json"));
  EXPECT_EQ(bench({"ceilings", "-r", "1", "--save-machine", "/nowhere/a.json"}).exit, 1);
}

/// A result of two rows, saved; `change` makes it differ.
std::string saved(const std::string& name, const std::function<void(OrderedJson&)>& change) {
  OrderedJson json = parse_ordered_json(
      R"({"schema": 1, "bench": "qmm", "machine": {"digest": "d", "cpu": "c", "threads": 1},
          "model": null, "method": {"cold": true}, "key": ["n", "m"],
          "rows": [{"n": 64, "m": 1, "us": 100, "us_q1": 99, "us_q3": 101},
                   {"n": 64, "m": 2, "us": 200, "us_q1": 199, "us_q3": 201}]})",
      "a result");
  change(json);
  const std::string path = scratch_dir("compare") + "/" + name + ".json";
  std::ofstream(path) << json.dump();
  return path;
}

TEST(BenchCompare, TellsSlowerFromTheSame) {
  const std::string old = saved("old", [](OrderedJson&) {});
  const Finished same = bench({"compare", old, old});
  EXPECT_EQ(same.exit, 0) << same.err;
  EXPECT_THAT(same.out, HasSubstr("2 rows: 0 slower, 2 same, 0 faster, by more than 3 %"));
  const std::string slow = saved("slow", [](OrderedJson& json) {
    json["rows"][1] = {{"n", 64}, {"m", 2}, {"us", 220}, {"us_q1", 219}, {"us_q3", 221}};
  });
  const Finished worse = bench({"compare", old, slow});
  EXPECT_EQ(worse.exit, 6);
  EXPECT_THAT(worse.out, AllOf(HasSubstr("1.100"), HasSubstr("| slower"), HasSubstr("1 slower")));
  EXPECT_EQ(bench({"compare", slow, old}).exit, 0);
  EXPECT_THAT(bench({"compare", slow, old}).out, HasSubstr("| faster"));
  EXPECT_EQ(bench({"compare", old, slow, "--allow", "15%"}).exit, 0);
  // The quartiles overlap: not known to be slower.
  const std::string noisy = saved("noisy", [](OrderedJson& json) { json["rows"][1]["us"] = 220; });
  EXPECT_EQ(bench({"compare", old, noisy}).exit, 0);
}

TEST(BenchCompare, RefusesWhatIsNotComparable) {
  const std::string old = saved("old", [](OrderedJson&) {});
  const std::string other = saved("other", [](OrderedJson& json) {
    json["machine"]["cpu"] = "e";
    json["method"]["cold"] = false;
  });
  const Finished done = bench({"compare", old, other});
  EXPECT_EQ(done.exit, 5);
  EXPECT_THAT(done.err, AllOf(HasSubstr("method.cold: true and false"),
                              HasSubstr("machine.cpu: \"c\" and \"e\"")));
  const std::string rowless =
      saved("rowless", [](OrderedJson& json) { json["rows"][0].erase("us_q1"); });
  EXPECT_THAT(bench({"compare", old, rowless}).err, HasSubstr("us_q1"));
  EXPECT_EQ(bench({"compare", old, rowless}).exit, 2);
  EXPECT_EQ(bench({"compare", old}).exit, 2);
  EXPECT_EQ(bench({"compare", old, "/nowhere.json"}).exit, 2);
  EXPECT_EQ(bench({"compare", old, old, "--allow", "much"}).exit, 2);
  EXPECT_EQ(bench({"compare", old, old, "--quick"}).exit, 2);
}

}  // namespace
}  // namespace stepless::test
