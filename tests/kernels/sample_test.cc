#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>

#include "tests/kernels/sample_case.hpp"
#include "tests/kernels/sample_run.hpp"
#include "tests/support/each_row.hpp"
#include "tests/support/random.hpp"

namespace stepless::test {
namespace {

using kernels::SampleRow;
using oracle::SamplingOptions;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class EachSampler : public EachRow {
 protected:
  static Sampled run(const std::vector<std::vector<float>>& rows,
                     const std::vector<SampleRow>& params, std::int64_t top_stride = 0) {
    return run_sampler(row(), {rows, params, top_stride});
  }
};

std::vector<float> random_logits(std::int64_t vocab, double spread, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> z(static_cast<std::size_t>(vocab));
  for (float& v : z) v = static_cast<float>(random.normal() * spread);
  return z;
}

SampleRow plain(double temperature, std::uint64_t seed = 1, std::int64_t position = 0) {
  SampleRow row = {};
  row.temperature = static_cast<float>(temperature);
  row.top_p = 1;
  row.min_tokens_to_keep = 1;
  row.seed = seed;
  row.position = position;
  return row;
}

TEST_P(EachSampler, GreedyTakesTheLowestIdOfTheBest) {
  for (const std::int64_t vocab : {1, 2, 3, 5, 255, 256, 257, 1023, 5003}) {
    auto z = random_logits(vocab, 2, static_cast<std::uint64_t>(vocab));
    const auto best = static_cast<std::size_t>(vocab / 3);
    z[best] = 40;
    z.back() = 40;
    const Sampled out = run({z}, {plain(0)});
    EXPECT_EQ(out.token[0], static_cast<std::int32_t>(best)) << vocab;
    const auto reference = oracle::logprobs({z.begin(), z.end()});
    EXPECT_NEAR(static_cast<double>(out.logprob[0]), reference[best], 1e-6);
  }
  EXPECT_EQ(run({{-0.0f, 0.0f}}, {plain(0)}).token[0], 0);
}

TEST_P(EachSampler, LogprobIsOfThePenalisedRowBeforeFilters) {
  const auto z = random_logits(3001, 3, 5);
  SamplingOptions options;
  options.temperature = 0.7;
  options.top_k = 3;
  options.bias = {{7, 9.0}, {11, -3.0}};
  const SampleCase sample(options);
  const Sampled out = run({z}, {sample.row()});
  const auto reference = oracle::logprobs(oracle::penalised(z, options));
  EXPECT_NEAR(static_cast<double>(out.logprob[0]),
              reference[static_cast<std::size_t>(out.token[0])], 2e-6);
}

TEST_P(EachSampler, RowAloneEqualsRowInCompany) {
  std::vector<std::vector<float>> rows;
  std::vector<SampleRow> params;
  SamplingOptions options;
  options.temperature = 0.9;
  options.top_p = 0.9;
  options.repetition = 1.3;
  options.history = {1, 5, 5, 900, 2};
  const SampleCase sample(options);
  for (std::uint64_t i = 0; i < 17; ++i) {
    rows.push_back(random_logits(1001, 2, 100 + i));
    params.push_back(i % 3 == 0 ? sample.row() : plain(i % 3 == 1 ? 1.0 : 0.0, i));
    params.back().position = static_cast<std::int64_t>(i);
    params.back().logprobs = static_cast<std::int32_t>(i % 4);
  }
  rows[4][9] = kNan;  // a broken neighbour
  const Sampled together = run(rows, params, 3);
  EXPECT_EQ(together.token[4], -1);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i == 4) continue;
    const Sampled alone = run({rows[i]}, {params[i]}, 3);
    EXPECT_EQ(alone.token[0], together.token[i]) << i;
    EXPECT_EQ(alone.logprob[0], together.logprob[i]) << i;
    for (std::size_t j = 0; j < 3; ++j)
      EXPECT_EQ(alone.top_ids[j], together.top_ids[i * 3 + j]) << i;
  }
}

TEST_P(EachSampler, FrequenciesFollowTheProbabilities) {
  const std::vector<float> z = {0.0f, 1.0f, 2.0f, -1.0f, 1.5f, -kInfinity};
  SamplingOptions options;
  options.temperature = 1.3;
  const auto expected = oracle::distribution({z.begin(), z.end()}, options);
  constexpr int kDraws = 20000, kTogether = 200;
  std::vector<int> seen(z.size());
  for (int i = 0; i < kDraws; i += kTogether) {
    std::vector<SampleRow> params;
    for (int j = 0; j < kTogether; ++j) params.push_back(plain(1.3, 12, i + j));
    for (const std::int32_t token : run({kTogether, z}, params).token) {
      ASSERT_GE(token, 0);
      ++seen[static_cast<std::size_t>(token)];
    }
  }
  for (std::size_t i = 0; i < 5; ++i) {
    const double p = expected.probabilities[i];
    EXPECT_NEAR(seen[i], kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p))) << i;
  }
  EXPECT_EQ(seen[5], 0);
}

TEST_P(EachSampler, DrawDependsOnSeedAndPosition) {
  const auto z = random_logits(4000, 1, 3);
  const auto token = [&](std::uint64_t seed, std::int64_t position) {
    return run({z}, {plain(1, seed, position)}).token[0];
  };
  EXPECT_EQ(token(1, 1), token(1, 1));
  int same = 0;
  for (int i = 0; i < 50; ++i)
    same += (token(1, i) == token(2, i)) + (token(1, i) == token(1, i + 50));
  EXPECT_LT(same, 5);
}

TEST_P(EachSampler, TheXtcCoinDoesNotMoveTheDraw) {
  const auto z = random_logits(500, 1.5, 8);
  int applied = 0;
  for (int i = 0; i < 200; ++i) {
    SampleRow with = plain(1, 4, i);
    with.xtc_probability = 0.3f;
    with.xtc_threshold = 0.01f;
    SampleRow always = with;
    always.xtc_probability = 1;
    const std::int32_t drawn = run({z}, {with}).token[0];
    const bool coin = kernels::philox_uniform(4, i, kernels::kXtcDraw) <
                      static_cast<double>(with.xtc_probability);
    EXPECT_EQ(drawn, run({z}, {coin ? always : plain(1, 4, i)}).token[0]) << i;
    applied += coin;
  }
  EXPECT_NEAR(applied, 60, 33);  // five standard deviations
}

TEST_P(EachSampler, RowsThatCannotBeDrawnSayMinusOne) {
  const std::vector<std::vector<float>> rows = {
      std::vector<float>(300, kNan), std::vector<float>(300, -kInfinity),
      std::vector<float>(300, 1.0f), std::vector<float>(300, 1.0f),
      std::vector<float>(300, kInfinity)};
  for (const double temperature : {0.0, 1.0}) {
    auto broken = rows;
    broken[2][299] = kNan;
    broken[3][0] = kInfinity;
    SampleRow params = plain(temperature);
    params.top_p = 0.5f;
    params.min_p = 0.1f;
    params.top_k = 5;
    params.xtc_probability = 1;
    params.xtc_threshold = 0.001f;
    params.logprobs = 2;
    const Sampled out = run(broken, std::vector<SampleRow>(5, params), 2);
    for (std::size_t i = 0; i < 5; ++i) {
      EXPECT_EQ(out.token[i], -1) << i;
      EXPECT_TRUE(std::isnan(out.logprob[i])) << i;
      EXPECT_EQ(out.top_ids[2 * i], -1) << i;
    }
  }
}

TEST_P(EachSampler, ForbiddenTokensAreNeverDrawn) {
  std::vector<float> z(1000, -kInfinity);
  z[613] = -5;
  z[700] = -5;
  for (int i = 0; i < 40; ++i) {
    SampleRow params = plain(1, 3, i);
    params.top_k = i % 2 == 0 ? 40 : 0;
    const std::int32_t token = run({z}, {params}).token[0];
    EXPECT_TRUE(token == 613 || token == 700) << token;
  }
}

TEST_P(EachSampler, StrangeIdsArePassedOver) {
  const auto z = random_logits(64, 1, 2);
  SamplingOptions clean;
  clean.temperature = 1;
  clean.history = {3, 63};
  clean.repetition = 1.5;
  clean.presence = 0.3;
  clean.frequency = 0.2;
  clean.xtc = true;
  clean.xtc_threshold = 0.02;
  clean.xtc_exempt = {5};
  SamplingOptions strange = clean;
  strange.history = {-1, 3, 64, 1 << 30, 63};
  strange.xtc_exempt = {-4, 5, 64};
  strange.bias = {{-1, 5.0}, {64, 5.0}};
  const SampleCase a(clean), b(strange);
  const Sampled left = run({z}, {a.row()}), right = run({z}, {b.row()});
  EXPECT_EQ(left.token[0], right.token[0]);
  EXPECT_EQ(left.logprob[0], right.logprob[0]);
}

TEST_P(EachSampler, BestLogprobsComeInOrder) {
  for (const std::int64_t vocab : {5, 300, 4100}) {
    auto z = random_logits(vocab, 2, 9);
    z[1] = z[3] = 30;  // equal: the lower id first
    std::vector<std::size_t> order(z.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return z[a] > z[b]; });
    const auto reference = oracle::logprobs({z.begin(), z.end()});
    for (const std::int32_t asked : {0, 1, 2, 20, 3000}) {
      SampleRow params = plain(0);
      params.logprobs = asked;
      const std::int64_t stride = std::max(asked, 4);
      const Sampled out = run({z}, {params}, stride);
      for (std::int64_t j = 0; j < stride; ++j) {
        const auto at = static_cast<std::size_t>(j);
        if (j >= std::min<std::int64_t>(asked, vocab)) {
          EXPECT_EQ(out.top_ids[at], -1);
          continue;
        }
        ASSERT_EQ(out.top_ids[at], static_cast<std::int32_t>(order[at])) << vocab << " " << j;
        EXPECT_NEAR(static_cast<double>(out.top_logprobs[at]), reference[order[at]], 4e-6);
      }
    }
  }
}

// ---- filters against the sorting oracle

std::vector<SamplingOptions> filter_options() {
  std::vector<SamplingOptions> all;
  for (const double top_p : {1.0, 0.02, 0.5, 0.95, 0.99999})
    for (const std::int64_t top_k : {0, 1, 7, 3000})
      for (const double min_p : {0.0, 0.05})
        for (const bool xtc : {false, true}) {
          SamplingOptions o;
          o.temperature = 0.8;
          o.top_p = top_p;
          o.top_k = top_k;
          o.min_p = min_p;
          o.min_tokens_to_keep = top_k == 7 ? 50 : 1;
          o.xtc = xtc;
          o.xtc_threshold = 0.001;
          o.xtc_exempt = {0, 17};
          all.push_back(o);
        }
  return all;
}

/// Same kept tokens but for a few whose fate a rounding decides (probability sums of thousands of
/// floats).
void expect_close(const oracle::Distribution& got, const oracle::Distribution& want,
                  std::size_t most_apart) {
  std::vector<std::int32_t> apart;
  std::ranges::set_symmetric_difference(got.kept, want.kept, std::back_inserter(apart));
  EXPECT_LE(apart.size(), most_apart) << got.kept.size() << " kept, expected " << want.kept.size();
}

void compare_filters(const std::vector<float>& z, std::size_t most_apart) {
  for (const SamplingOptions& options : filter_options()) {
    SCOPED_TRACE(testing::Message() << "top_p " << options.top_p << " top_k " << options.top_k
                                    << " min_p " << options.min_p << " xtc " << options.xtc);
    const SampleCase sample(options);
    expect_close(filtered(sample.row(), z), oracle::distribution({z.begin(), z.end()}, options),
                 most_apart);
  }
}

/// The token stands in the oracle's distribution where the row's random number points.
void expect_drawn(const oracle::Distribution& want, std::int32_t token, double uniform) {
  double before = 0;
  std::size_t at = 0;
  for (; at < want.kept.size() && want.kept[at] != token; ++at) before += want.probabilities[at];
  ASSERT_LT(at, want.kept.size()) << token << " is not kept";
  EXPECT_LE(before, uniform + 1e-5) << token;
  EXPECT_GE(before + want.probabilities[at], uniform - 1e-5) << token;
}

/// Rows of one length, each with every combination of filters.
void expect_draws(const Kernel& kernel, const std::vector<float>& z) {
  std::vector<SampleRow> params;
  const auto all = filter_options();
  std::vector<std::unique_ptr<SampleCase>> cases;
  for (std::size_t i = 0; i < all.size(); ++i) {
    cases.push_back(std::make_unique<SampleCase>(all[i]));
    params.push_back(cases.back()->row());
    params.back().seed = i;
  }
  const Sampled out = run_sampler(kernel, {std::vector(all.size(), z), params});
  for (std::size_t i = 0; i < all.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "top_p " << all[i].top_p << " top_k " << all[i].top_k
                                    << " min_p " << all[i].min_p << " xtc " << all[i].xtc);
    expect_drawn(oracle::distribution({z.begin(), z.end()}, all[i]), out.token[i],
                 kernels::philox_uniform(i, 0, kernels::kTokenDraw));
  }
}

TEST_P(EachSampler, DrawsFromWhatSortingKeeps) {
  expect_draws(row(), random_logits(5, 2, 6));
  expect_draws(row(), random_logits(97, 3, 1));
  expect_draws(row(), random_logits(4100, 3, 2));
  std::vector<float> steps(3001);
  for (std::size_t i = 0; i < steps.size(); ++i) steps[i] = static_cast<float>(i % 3);  // ties
  expect_draws(row(), steps);
}

/// The vocabulary of a real model, and one that is too large for what a block shares.
TEST_P(EachSampler, DrawsFromLargeVocabularies) {
  for (const std::int64_t vocab : {128256, 151937, 500001}) {
    auto z = random_logits(vocab, 2, static_cast<std::uint64_t>(vocab));
    for (std::size_t i = 0; i < 30; ++i) z[i * 4001] += 12.0f;
    SamplingOptions options;
    options.temperature = 0.8;
    options.top_p = 0.95;
    options.repetition = 1.2;
    options.history = {4001, 8002, 8002, 17};
    const SampleCase sample(options);
    const auto want = oracle::distribution(oracle::penalised(z, options), options);
    std::vector<SampleRow> params(9, sample.row());
    for (std::size_t i = 0; i < 9; ++i) params[i].seed = i;
    const Sampled out = run({9, z}, params);
    for (std::size_t i = 0; i < 9; ++i)
      expect_drawn(want, out.token[i], kernels::philox_uniform(i, 0, kernels::kTokenDraw));
  }
}

/// A row is a cluster of blocks or one block: no bit shows which.
TEST_P(EachSampler, BlocksOfARowLeaveNoTrace) {
  if (row().device == nullptr) GTEST_SKIP() << "a sampler of the CPU";
  for (const std::int64_t vocab : {3, 1001, 128256, 500000}) {
    std::vector<std::vector<float>> rows;
    std::vector<SampleRow> params;
    for (std::uint64_t i = 0; i < 6; ++i) {
      rows.push_back(random_logits(vocab, i % 2 == 0 ? 1 : 4, 50 + i));
      params.push_back(plain(i < 2 ? 0 : 0.9, i));
      params.back().logprobs = static_cast<std::int32_t>(i % 3);
      if (i > 3) params.back().top_p = 0.9f, params.back().top_k = 1 + static_cast<int>(vocab / 2);
      if (i > 4) params.back().xtc_probability = 1, params.back().xtc_threshold = 0.001f;
    }
    EXPECT_TRUE(same_bits(run_on_gpu(row(), {rows, params, 2}, true),
                          run_on_gpu(row(), {rows, params, 2}, false)))
        << vocab;
  }
}

/// Both sides of a block, of blocks that are summed together and of the logits whose best is found
/// at once; masked tokens anywhere.
TEST_P(EachSampler, BitsAreThoseOfOtherWidths) {
  if (row().device != nullptr) GTEST_SKIP() << "a sampler of GPUs";
  for (const std::int64_t vocab : {1, 5, 17, 255, 256, 257, 1023, 1024, 1025, 4095, 4097, 9001}) {
    std::vector<std::vector<float>> rows;
    std::vector<SampleRow> params;
    for (std::uint64_t i = 0; i < 6; ++i) {
      rows.push_back(random_logits(vocab, i % 2 == 0 ? 1 : 6, 70 + i));
      params.push_back(plain(i < 2 ? 0 : 0.8, i));
      params.back().logprobs = static_cast<std::int32_t>(i % 3);
      if (i == 3) params.back().top_p = 0.9f;
      if (i == 4) params.back().top_k = 1 + static_cast<std::int32_t>(vocab / 3);
      for (std::size_t j = i; j < rows.back().size() && i > 3; j += 5) rows.back()[j] = -kInfinity;
    }
    EXPECT_TRUE(same_bits(run(rows, params, 2),
                          run_on_cpu(*find_kernel("sample_f32_r1_cpu"), {rows, params, 2})))
        << vocab;
  }
}

TEST(SamplerFilters, AgreeWithSortingOnOrdinaryRows) {
  compare_filters(random_logits(97, 3, 1), 0);
  compare_filters(random_logits(5000, 3, 2), 0);
  compare_filters(random_logits(9001, 0.5, 3), 2);
}

TEST(SamplerFilters, AgreeOnRowsMadeToStopTheSearch) {
  std::vector<float> narrow(6000), tiny(6000), wide(6000), equal(6000, 2.5f), steps(6000);
  for (std::size_t i = 0; i < narrow.size(); ++i) {
    const auto shuffled = static_cast<float>(i * 2741 % 6000);
    narrow[i] = 1.0f + shuffled * 0x1p-23f;      // neighbours of one another
    tiny[i] = (shuffled - 3000.0f) * 0x1p-149f;  // subnormal
    wide[i] = (shuffled - 3000.0f) * 1e35f;      // differences overflow
    steps[i] = static_cast<float>(i % 3);        // many ties
  }
  compare_filters(equal, 0);
  compare_filters(steps, 0);
  compare_filters(narrow, 40);
  compare_filters(wide, 0);
  // Equal weights, but distinct logits: any count but the oracle's own is an error of the search.
  for (const std::int64_t k : {1, 2999, 5000}) {
    SamplingOptions options;
    options.temperature = 1;
    options.top_k = k;
    const SampleCase sample(options);
    expect_close(filtered(sample.row(), tiny),
                 oracle::distribution({tiny.begin(), tiny.end()}, options), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachSampler, testing::ValuesIn(built_rows({KernelOp::sample})),
                         row_name);

TEST(SamplerDraw, FollowsTheCumulativeDistributionInOrderOfId) {
  const auto z = random_logits(2000, 2, 4);
  SamplingOptions options;
  options.temperature = 0.9;
  options.top_k = 700;
  const auto want = oracle::distribution({z.begin(), z.end()}, options);
  const SampleCase sample(options);
  const kernels::Logits row = kernels::survey(z.data(), 2000);
  std::vector<std::int32_t> ids(z.size());
  const kernels::Kept kept = kernels::filter(sample.row(), row, 1.0, ids.data());
  for (int i = 0; i <= 1000; ++i) {
    const double uniform = i / 1000.0;  // 1.0, which no draw reaches, included
    const std::int32_t token = kernels::draw(row, kept, 0.9f, uniform);
    double before = 0;
    std::size_t at = 0;
    for (; at < want.kept.size() && want.kept[at] != token; ++at) before += want.probabilities[at];
    ASSERT_LT(at, want.kept.size()) << uniform;
    EXPECT_LE(before, uniform + 1e-5);
    EXPECT_GE(before + want.probabilities[at], uniform - 1e-5);
  }
}

}  // namespace
}  // namespace stepless::test
