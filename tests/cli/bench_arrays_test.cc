// stepless bench dot and bench gather as users meet them. No time is judged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Finished bench(std::vector<std::string> words) {
  words.insert(words.begin(), "bench");
  return run_program(STEPLESS_BINARY, {std::move(words), {}, "", 0});
}

void expect_times(const OrderedJson& row) {
  for (const char* field : {"us", "us_min", "us_max", "gb_s", "tflop_s", "floor_us", "floor_pct"})
    EXPECT_GT(row[field].get<double>(), 0) << field;
  EXPECT_LE(row["us_min"], row["us"]);
  EXPECT_LE(row["us"], row["us_max"]);
}

TEST(BenchDot, PrintsAShareOfTheReadCeiling) {
  const Finished done =
      bench({"dot", "--k", "1,4096", "--dtype", "f32,complex64", "-r", "2", "--warm"});
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_THAT(done.out, AllOf(HasSubstr(" k |"), HasSubstr("| median us"), HasSubstr("| dtype"),
                              HasSubstr("% read ceiling"), HasSubstr("| complex64"),
                              HasSubstr("| matmul"), HasSubstr("ceilings: one thread read ")));
}

TEST(BenchDot, JsonHasTheKeysOfQmm) {
  const Finished done =
      bench({"dot", "--k", "16-64*2", "--dtype", "bf16", "-r", "2", "--warm", "--json"});
  ASSERT_EQ(done.exit, 0) << done.err;
  const OrderedJson json = parse_ordered_json(done.out, "output");
  EXPECT_EQ(json["bench"], "dot");
  EXPECT_EQ(json["key"], OrderedJson({"k", "dtype", "form"}));
  ASSERT_EQ(json["rows"].size(), 6u);
  EXPECT_EQ(json["rows"][5]["k"], 64);
  EXPECT_EQ(json["rows"][0]["dtype"], "bfloat16");
  EXPECT_EQ(json["rows"][0]["cold"], false);
  for (const OrderedJson& row : json["rows"]) expect_times(row);
  // The share is that of the ceiling that the same run measured.
  const OrderedJson& row = json["rows"][5];
  EXPECT_NEAR(
      row["read_pct"].get<double>(),
      100 * row["gb_s"].get<double>() / json["ceilings"]["read_gb_s"]["median"].get<double>(),
      1e-6);
}

TEST(BenchGather, MeasuresTokensExpertsAndTopK) {
  const Finished done = bench({"gather", "--shapes", "64x128", "--tokens", "1,4", "--experts", "8",
                               "--top-k", "1,2", "-r", "2", "--warm", "--json"});
  ASSERT_EQ(done.exit, 0) << done.err;
  const OrderedJson json = parse_ordered_json(done.out, "output");
  ASSERT_EQ(json["rows"].size(), 4u);
  EXPECT_EQ(json["rows"][3]["tokens"], 4);
  EXPECT_EQ(json["rows"][3]["top_k"], 2);
  EXPECT_EQ(json["rows"][0]["woken"], 1);
  for (const OrderedJson& row : json["rows"]) expect_times(row);
  const Finished table = bench({"gather", "--shapes", "64x128", "--tokens", "2", "--experts", "4",
                                "--top-k", "2", "-r", "2", "--warm"});
  EXPECT_THAT(table.out, AllOf(HasSubstr("| tokens"), HasSubstr("| woken"), HasSubstr("% floor")));
}

TEST(BenchGather, RefusesWhatCannotBe) {
  EXPECT_THAT(bench({"gather", "--experts", "4", "--top-k", "5"}).err, HasSubstr("top_k 5"));
  EXPECT_EQ(bench({"gather", "--experts", "4", "--top-k", "5"}).exit, 2);
  EXPECT_EQ(bench({"gather", "--bits", "16"}).exit, 2);
  EXPECT_THAT(bench({"gather", "--m", "1"}).err, HasSubstr("--m: no flag of bench gather"));
  EXPECT_THAT(bench({"dot", "--shapes", "64x64"}).err,
              HasSubstr("belongs to bench qmm, bench gather"));
  EXPECT_THAT(bench({"dot", "--dtype", "int8"}).err, HasSubstr("int8"));
  EXPECT_EQ(bench({"dot", "--k", "0"}).exit, 2);
}

}  // namespace
}  // namespace stepless::test
