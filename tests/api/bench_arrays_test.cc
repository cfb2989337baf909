// What bench_dots() and bench_gather() report, whatever the times are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stepless/bench.hpp"
#include "tests/support/throws.hpp"

namespace stepless {
namespace {

using testing::HasSubstr;

BenchOptions few() {
  BenchOptions options;
  options.rounds = 2;
  options.warm = true;  // one copy: a test has no time to fill a cache three times
  return options;
}

ProblemSpec expert() {
  ProblemSpec spec;
  spec.n = 64, spec.k = 128;
  return spec;
}

TEST(BenchDots, CountsEachByteOnce) {
  const std::tuple<const char*, double, double> types[] = {
      {"float32", 4, 2}, {"float16", 2, 2}, {"bfloat16", 2, 2}, {"complex64", 8, 8}};
  for (const auto& [dtype, bytes, flop] : types) {
    const DotBench bench = bench_dots({1, 4097}, dtype, few());
    ASSERT_EQ(bench.rows.size(), 4u) << dtype;
    for (std::size_t i = 0; i < 4; ++i) {
      const DotRow& row = bench.rows[i];
      EXPECT_EQ(row.k, i < 2 ? 1 : 4097);
      EXPECT_EQ(row.form, i % 2 == 0 ? "inner" : "matmul");
      EXPECT_EQ(row.dtype, dtype);
      EXPECT_THAT(row.kernel, HasSubstr("dot_"));
      EXPECT_EQ(row.us.size(), 2u);
      EXPECT_EQ(row.bytes, static_cast<double>(2 * row.k + 1) * bytes);
      EXPECT_EQ(row.flop, static_cast<double>(row.k) * flop);
      EXPECT_GT(row.floor_us, 0);
      EXPECT_GT(row.read_pct, 0);
    }
    EXPECT_FALSE(bench.ceilings.read_gb_s.empty());
  }
}

TEST(BenchDots, RefusesWhatIsNoDot) {
  const auto refuses = [](const char* words, const std::vector<std::int64_t>& k,
                          const char* dtype) {
    test::expect_error(ErrorCode::invalid_argument, words, [&] { bench_dots(k, dtype, few()); });
  };
  refuses("k 0", {1, 0}, "float32");
  refuses("empty", {}, "float32");
  refuses("int8", {1}, "int8");
  BenchOptions stopped = few();
  stopped.progress = [](std::int64_t, std::int64_t) { return false; };
  test::expect_error(ErrorCode::cancelled, "stopped", [&] { bench_dots({1}, "float32", stopped); });
}

TEST(BenchGather, WakesAsManyExpertsAsHaveRows) {
  const GatherBench bench =
      bench_gather(expert(), {{1, 8, 2}, {16, 8, 8}, {3, 1, 1}, {64, 8, 2}}, few());
  ASSERT_EQ(bench.rows.size(), 4u);
  EXPECT_EQ(bench.copies, 8);         // warm: the experts themselves
  EXPECT_EQ(bench.rows[0].woken, 2);  // a token's choices differ
  EXPECT_EQ(bench.rows[1].woken, 8);  // every token meets all
  EXPECT_EQ(bench.rows[2].woken, 1);
  EXPECT_EQ(bench.rows[3].woken, 8);  // 128 pairs miss none of eight but by a miracle
  const double weight = 64 * 128 * (0.5 + 4.0 / 64);
  for (const GatherRow& row : bench.rows) {
    const auto pairs = static_cast<double>(row.asked.tokens * row.asked.top_k);
    EXPECT_EQ(row.flop, 2 * pairs * 64 * 128);
    EXPECT_EQ(row.bytes, static_cast<double>(row.woken) * weight +
                             static_cast<double>(row.asked.tokens) * 128 * 2 + pairs * 64 * 2);
    EXPECT_EQ(row.us.size(), 2u);
    EXPECT_GT(row.floor_us, 0);
    EXPECT_THAT(row.kernel, HasSubstr("qmm_"));
  }
}

TEST(BenchGather, ColdExpertsOutgrowTheCache) {
  BenchOptions options = few();
  options.warm = false;
  options.rounds = 1;
  ProblemSpec large = expert();
  large.n = 512, large.k = 2048;
  const GatherBench bench = bench_gather(large, {{1, 4, 2}}, options);
  EXPECT_GT(bench.copies, 4);
}

TEST(BenchGather, MeasuresEveryFormatAndBothWays) {
  for (const char* mode : {"mxfp4", "mxfp8", "nvfp4"}) {
    ProblemSpec spec = expert();
    spec.mode = mode;
    EXPECT_THAT(bench_gather(spec, {{2, 4, 2}}, few()).rows[0].format, HasSubstr(mode));
  }
  ProblemSpec across = expert();
  across.transpose = false;
  EXPECT_THAT(bench_gather(across, {{2, 4, 2}}, few()).rows[0].kernel, HasSubstr("qmmn_"));
}

TEST(BenchGather, RefusesWhatIsNoMixture) {
  const auto refuses = [](const char* words, const std::vector<GatherCase>& cases) {
    test::expect_error(ErrorCode::invalid_argument, words,
                       [&] { bench_gather(expert(), cases, few()); });
  };
  refuses("top_k 3", {{1, 2, 3}});
  refuses("tokens 0", {{0, 2, 1}});
  refuses("no case", {});
  ProblemSpec dense = expert();
  dense.bits = 16;
  test::expect_error(ErrorCode::invalid_argument, "dense", [&] {
    bench_gather(dense, {{1, 2, 1}}, few());
  });
}

}  // namespace
}  // namespace stepless
