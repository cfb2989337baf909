// What bench reports, whatever the times are: rows, floors, ceilings; and the judge of steps on
// times made up here.
#include "stepless/bench.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"

namespace stepless {
namespace {

using testing::HasSubstr;

ProblemSpec shape(std::int64_t n, std::int64_t k) {
  ProblemSpec spec;
  spec.n = n, spec.k = k;
  return spec;
}

BenchOptions few() {
  BenchOptions options;
  options.rounds = 2;
  options.warm = true;  // one copy: a test has no time to fill a cache three times
  return options;
}

void expect_row(const ProductRow& row, std::int64_t m) {
  EXPECT_EQ(row.m, m);
  EXPECT_EQ(row.us.size(), 2u);
  for (const double us : row.us) EXPECT_GT(us, 0);
  EXPECT_GT(row.floor_us, 0);
  EXPECT_EQ(row.flop, 2.0 * static_cast<double>(m * row.n * row.k));
  EXPECT_THAT(row.kernel, HasSubstr("_"));
}

TEST(BenchProducts, MeasuresEveryFormat) {
  const std::tuple<const char*, int, int, bool> formats[] = {
      {"affine", 4, 64, true}, {"affine", 3, 32, true}, {"mxfp4", 4, 32, true},
      {"mxfp8", 8, 32, true},  {"nvfp4", 4, 16, true},  {"affine", 4, 64, false}};
  for (const auto& [mode, bits, group, transpose] : formats) {
    ProblemSpec spec = shape(64, 256);
    spec.mode = mode, spec.bits = bits, spec.group_size = group, spec.transpose = transpose;
    const ProductBench bench = bench_products(spec, {1, 5}, few());
    ASSERT_EQ(bench.rows.size(), 2u);
    expect_row(bench.rows[0], 1);
    expect_row(bench.rows[1], 5);
    EXPECT_EQ(bench.copies, 1);
    EXPECT_FALSE(bench.ceilings.read_gb_s.empty());
    EXPECT_FALSE(bench.ceilings.f32_gflop_s.empty());
  }
  ProblemSpec dense = shape(64, 256);
  dense.bits = 16;
  EXPECT_THAT(bench_products(dense, {1}, few()).rows[0].kernel, HasSubstr("mm_"));
}

TEST(BenchProducts, KernelsAreArmsOfOneRun) {
  BenchOptions options = few();
  options.kernels = {"", "qmm_wany_bany_fany_m2n1_cpu"};
  const ProductBench bench = bench_products(shape(64, 128), {1, 2, 3}, options);
  ASSERT_EQ(bench.rows.size(), 6u);
  for (std::size_t i = 0; i < 6; ++i) expect_row(bench.rows[i], static_cast<int>(i % 3) + 1);
  EXPECT_EQ(bench.rows[3].kernel, "qmm_wany_bany_fany_m2n1_cpu");
  options.kernels = {"no_such_kernel"};
  test::expect_error(ErrorCode::invalid_argument, "no_such_kernel",
                     [&] { bench_products(shape(64, 128), {1}, options); });
}

TEST(BenchProducts, ColdCopiesOutgrowTheCache) {
  BenchOptions options = few();
  options.warm = false;
  options.rounds = 1;
  EXPECT_GE(bench_products(shape(512, 2048), {1}, options).copies, 2);
}

TEST(BenchProducts, RefusesWhatCannotBeMeasured) {
  const auto refuses = [](const char* words, const ProblemSpec& spec,
                          const std::vector<std::int64_t>& m, const BenchOptions& options) {
    test::expect_error(ErrorCode::invalid_argument, words,
                       [&] { bench_products(spec, m, options); });
  };
  refuses("m 0", shape(64, 64), {1, 0}, few());
  refuses("empty", shape(64, 64), {}, few());
  refuses("65", shape(64, 65), {1}, few());
  BenchOptions none = few();
  none.rounds = 0;
  refuses("repeats: 0", shape(64, 64), {1}, none);
  BenchOptions stopped = few();
  stopped.progress = [](std::int64_t, std::int64_t) { return false; };
  test::expect_error(ErrorCode::cancelled, "stopped",
                     [&] { bench_products(shape(64, 64), {1}, stopped); });
}

TEST(Ceilings, BecomeAProfileThatExplainReads) {
  BenchOptions options = few();
  options.threads = 2;
  const Ceilings ceilings = measure_ceilings(options);
  EXPECT_EQ(ceilings.threads, 2);
  EXPECT_EQ(ceilings.read_all_gb_s.size(), 2u);
  EXPECT_EQ(ceilings.region_us.size(), 2u);
  EXPECT_FALSE(ceilings.f32_isa.empty());
  const std::string path = test::scratch_dir("bench_profile") + "/machine.json";
  std::ofstream(path) << machine_profile(ceilings, "a test");
  ProblemSpec spec = shape(4096, 4096);
  spec.machine = path;
  EXPECT_THAT(explain_problem(spec, false), HasSubstr("a test"));
  EXPECT_THAT(explain_problem(spec, false), HasSubstr("2 threads"));
}

TEST(ProductsOf, NamesEachShapeOnce) {
  const Model model = Model::open(test::models_dir() + "/tale-draft-4bit");
  const std::vector<ProblemSpec> specs = products_of(model);
  ASSERT_GT(specs.size(), 1u);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    EXPECT_EQ(specs[i].bits, 4);
    for (std::size_t j = 0; j < i; ++j)
      EXPECT_FALSE(specs[i].n == specs[j].n && specs[i].k == specs[j].k);
  }
}

/// Rows of these times, the same in every round, beside these floors.
std::vector<ProductRow> rows_of(const std::vector<double>& us, const std::vector<double>& floors) {
  std::vector<ProductRow> rows;
  for (std::size_t i = 0; i < us.size(); ++i) {
    ProductRow row;
    row.m = static_cast<std::int64_t>(i) + 1;
    row.us = {us[i], us[i], us[i], us[i], us[i]};
    row.floor_us = floors[i];
    rows.push_back(row);
  }
  return rows;
}

TEST(Steps, ARiseThatTheFloorHasToo) {
  const StepVerdict flat = judge_steps(rows_of({10, 10.2, 10, 10.9}, {9, 9, 9, 9}));
  EXPECT_TRUE(flat.steps.empty());
  EXPECT_EQ(flat.pairs, 3);
  EXPECT_EQ(flat.least_m, 1);
  EXPECT_EQ(flat.flat_to, 4);
  EXPECT_EQ(flat.flat_most_m, 4);
  EXPECT_DOUBLE_EQ(flat.flat_most, 1.09);
  const StepVerdict risen = judge_steps(rows_of({10, 20, 30}, {9, 18, 27}));
  EXPECT_TRUE(risen.steps.empty());
  EXPECT_EQ(risen.flat_to, 1);
}

TEST(Steps, ARiseThatItHasNot) {
  const StepVerdict verdict = judge_steps(rows_of({10, 10, 12.8, 13}, {9, 9, 9, 9}));
  ASSERT_EQ(verdict.steps.size(), 1u);
  EXPECT_EQ(verdict.steps[0].m, 2);
  EXPECT_DOUBLE_EQ(verdict.steps[0].ratio, 1.28);
  EXPECT_DOUBLE_EQ(verdict.steps[0].floor_ratio, 1);
  EXPECT_EQ(verdict.flat_to, 2);
  // Just below and just above what is allowed.
  EXPECT_TRUE(judge_steps(rows_of({10, 10.99}, {9, 9})).steps.empty());
  EXPECT_FALSE(judge_steps(rows_of({10, 11.01}, {9, 9})).steps.empty());
  // A floor that falls (noise of its own) allows no less than a flat one.
  EXPECT_TRUE(judge_steps(rows_of({10, 10.9}, {9, 8})).steps.empty());
}

TEST(Steps, NoiseIsNone) {
  std::vector<ProductRow> rows = rows_of({10, 10}, {9, 9});
  rows[1].us = {10, 15, 10, 18, 10};  // two rounds of five
  EXPECT_TRUE(judge_steps(rows).steps.empty());
  rows[1].us = {12, 15, 12, 18, 10};  // four of them
  EXPECT_FALSE(judge_steps(rows).steps.empty());
  rows = rows_of({10, 10}, {9, 9});
  rows[0].us = {10, 20, 30, 40, 50};  // rounds that were slow for both
  rows[1].us = {10, 20, 30, 40, 50};
  EXPECT_TRUE(judge_steps(rows).steps.empty());
}

TEST(Steps, GapsAreNotJudged) {
  std::vector<ProductRow> rows = rows_of({10, 30}, {9, 9});
  rows[1].m = 3;
  EXPECT_TRUE(judge_steps(rows).steps.empty());
  EXPECT_EQ(judge_steps(rows).pairs, 0);
  EXPECT_EQ(judge_steps({}).pairs, 0);
}

}  // namespace
}  // namespace stepless
