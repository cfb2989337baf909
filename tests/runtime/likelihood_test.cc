// Sums, divergences and moments against plain definitions, and rows that have none.
#include "runtime/likelihood.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/random.hpp"

namespace stepless::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> random_row(Random& random, std::size_t count, double scale) {
  std::vector<float> row(count);
  for (float& x : row) x = static_cast<float>(random.normal() * scale);
  return row;
}

long double probability(const std::vector<float>& row, std::size_t i) {
  long double sum = 0;
  for (const float x : row) sum += std::exp(static_cast<long double>(x));
  return std::exp(static_cast<long double>(row[i])) / sum;
}

TEST(LogSumExp, IsTheLogarithmOfTheSum) {
  Random random(1);
  for (const double scale : {0.0, 1.0, 20.0}) {
    const std::vector<float> row = random_row(random, 500, scale);
    long double sum = 0;
    for (const float x : row) sum += std::exp(static_cast<long double>(x));
    EXPECT_NEAR(log_sum_exp(row), static_cast<double>(std::log(sum)), 1e-12) << scale;
  }
}

TEST(LogSumExp, HugeAndExcludedLogits) {
  EXPECT_NEAR(log_sum_exp(std::vector<float>{30000, 30000}), 30000 + std::log(2.0), 1e-9);
  EXPECT_EQ(log_sum_exp(std::vector<float>{-3e38f, 3e38f}), static_cast<double>(3e38f));
  EXPECT_EQ(log_sum_exp(std::vector<float>{-kInf, 2, -kInf}), 2);
}

TEST(LogSumExp, RowsThatHaveNone) {
  for (const std::vector<float>& row :
       {std::vector<float>{1, kInf}, {1, std::nanf("")}, {std::nanf(""), 1}, {-kInf, -kInf}, {}})
    EXPECT_TRUE(std::isnan(log_sum_exp(row)));
}

TEST(KlDivergence, IsTheDefinition) {
  Random random(2);
  const std::vector<float> p = random_row(random, 300, 3), q = random_row(random, 300, 3);
  long double want = 0;
  for (std::size_t i = 0; i < p.size(); ++i)
    want += probability(p, i) * std::log(probability(p, i) / probability(q, i));
  EXPECT_NEAR(kl_divergence(p, log_sum_exp(p), q, log_sum_exp(q)), static_cast<double>(want),
              1e-12);
  EXPECT_EQ(kl_divergence(p, log_sum_exp(p), p, log_sum_exp(p)), 0);
}

TEST(KlDivergence, TokensThatPExcludesDoNotCount) {
  const std::vector<float> p = {0, -kInf, 0}, q = {0, 0, 0}, r = {0, -kInf, 0};
  EXPECT_NEAR(kl_divergence(p, log_sum_exp(p), q, log_sum_exp(q)), std::log(1.5), 1e-15);
  EXPECT_EQ(kl_divergence(p, log_sum_exp(p), r, log_sum_exp(r)), 0);
  EXPECT_EQ(kl_divergence(q, log_sum_exp(q), p, log_sum_exp(p)), kInf);
}

TEST(BestToken, TiesGoToTheLowerId) {
  EXPECT_EQ(best_token(std::vector<float>{1, 3, 3, 2}), 1);
  EXPECT_EQ(best_token(std::vector<float>{-5}), 0);
}

TEST(Quantile, InterpolatesBetweenNeighbours) {
  std::vector<double> values = {40, 10, 30, 20};
  EXPECT_EQ(quantile(values, 0), 10);
  EXPECT_EQ(quantile(values, 1), 40);
  EXPECT_EQ(quantile(values, 0.5), 25);
  EXPECT_NEAR(quantile(values, 0.99), 39.7, 1e-12);
  std::vector<double> one = {7};
  EXPECT_EQ(quantile(one, 0.99), 7);
}

TEST(Moments, MeanAndStandardErrorOfTheMean) {
  Moments moments;
  EXPECT_EQ(moments.count(), 0);
  for (const double value : {1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16}) moments.add(value);
  EXPECT_EQ(moments.count(), 4);
  EXPECT_EQ(moments.mean(), 1e9 + 10);
  EXPECT_NEAR(moments.standard_error(), std::sqrt(30.0 / 4), 1e-9);  // sample variance is 30
  Moments one;
  one.add(3);
  EXPECT_TRUE(std::isnan(one.standard_error()));
}

}  // namespace
}  // namespace stepless::test
