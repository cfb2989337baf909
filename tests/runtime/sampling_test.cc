// Sampling parameters at the edges of their ranges, and what the kernel gets to read.
#include "runtime/sampling.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

constexpr std::int64_t kVocab = 100;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Sampling, EdgesOfEveryRange) {
  struct Case {
    const char* name;
    std::function<void(SamplingParams&, double)> set;
    std::vector<double> good, bad;
  };
  using P = SamplingParams;
  const auto real = [](float P::*field) {
    return [field](P& p, double v) { p.*field = static_cast<float>(v); };
  };
  const auto whole = [](std::int32_t P::*field) {
    return [field](P& p, double v) { p.*field = static_cast<std::int32_t>(v); };
  };
  const auto bias = [](P& p, double v) { p.logit_bias = {{7, static_cast<float>(v)}}; };
  const auto bias_id = [](P& p, double v) {
    p.logit_bias = {{0, 0}, {static_cast<std::int32_t>(v), 1}};
  };
  const Case cases[] = {
      {"temperature", real(&P::temperature), {0, 0.5, 2, 1e6}, {-0.01, 2e6, kNan, kInf}},
      {"top_p", real(&P::top_p), {0, 0.5, 1}, {-0.01, 1.01, kNan}},
      {"min_p", real(&P::min_p), {0, 0.5, 1}, {-0.01, 1.01, kNan}},
      {"xtc_probability", real(&P::xtc_probability), {0, 1}, {-0.01, 1.01, kNan}},
      {"xtc_threshold", real(&P::xtc_threshold), {0, 0.5}, {-0.01, 0.51, kNan}},
      {"top_k", whole(&P::top_k), {0, 1, 100}, {-1, 101}},
      {"min_tokens_to_keep", whole(&P::min_tokens_to_keep), {1, 100}, {0, 101}},
      {"repetition_penalty", real(&P::repetition_penalty), {0, 1, 2}, {-0.01, kNan, kInf}},
      {"presence_penalty", real(&P::presence_penalty), {-2, 0, 2}, {kNan, kInf}},
      {"frequency_penalty", real(&P::frequency_penalty), {-2, 0, 2}, {kNan, -kInf}},
      {"repetition_context_size", whole(&P::repetition_context), {0, 20}, {-1}},
      {"presence_context_size", whole(&P::presence_context), {0, 20}, {-1}},
      {"frequency_context_size", whole(&P::frequency_context), {0, 20}, {-1}},
      {"logit_bias", bias, {-100, 0, 100}, {kNan, kInf}},
      {"logit_bias id", bias_id, {0, 99}, {-1, 100}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    for (const double value : c.good) {
      SamplingParams params;
      c.set(params, value);
      EXPECT_NO_THROW(check_sampling(params, kVocab)) << value;
    }
    for (const double value : c.bad) {
      SamplingParams params;
      c.set(params, value);
      expect_error(ErrorCode::invalid_argument, std::string(c.name) + ": ",
                   [&] { check_sampling(params, kVocab); });
    }
  }
}

TEST(Sampling, MessagesHoldTheValueAndTheRange) {
  SamplingParams params;
  params.top_p = 1.5f;
  expect_error(ErrorCode::invalid_argument, "top_p: 1.5; from 0 to 1",
               [&] { check_sampling(params, kVocab); });
}

TEST(Sampling, ARowCarriesEveryParameter) {
  SamplingParams p;
  p.temperature = 0.1f, p.top_p = 0.2f, p.min_p = 0.3f, p.xtc_probability = 0.4f;
  p.xtc_threshold = 0.45f, p.top_k = 6, p.min_tokens_to_keep = 7, p.repetition_penalty = 8;
  p.presence_penalty = 9, p.frequency_penalty = 10, p.repetition_context = 11;
  p.presence_context = 12, p.frequency_context = 13, p.seed = 14;
  const SamplingArrays arrays{{1, 2}, {3, 4}, {5, 6, 7}};
  const std::vector<std::int32_t> history = {8, 9, 10, 11};
  const kernels::SampleRow row = sample_row(p, arrays, history, 15, 16);
  EXPECT_EQ(row.temperature, 0.1f);
  EXPECT_EQ(row.top_p, 0.2f);
  EXPECT_EQ(row.min_p, 0.3f);
  EXPECT_EQ(row.xtc_probability, 0.4f);
  EXPECT_EQ(row.xtc_threshold, 0.45f);
  EXPECT_EQ(row.top_k, 6);
  EXPECT_EQ(row.min_tokens_to_keep, 7);
  EXPECT_EQ(row.repetition_penalty, 8);
  EXPECT_EQ(row.presence_penalty, 9);
  EXPECT_EQ(row.frequency_penalty, 10);
  EXPECT_EQ(row.repetition_context, 11);
  EXPECT_EQ(row.presence_context, 12);
  EXPECT_EQ(row.frequency_context, 13);
  EXPECT_EQ(row.seed, 14u);
  EXPECT_EQ(row.position, 15);
  EXPECT_EQ(row.logprobs, 16);
  EXPECT_EQ(row.history, history.data());
  EXPECT_EQ(row.history_size, 4);
  EXPECT_EQ(row.bias_ids, arrays.bias_ids.data());
  EXPECT_EQ(row.bias_values, arrays.bias_values.data());
  EXPECT_EQ(row.bias_count, 2);
  EXPECT_EQ(row.xtc_exempt, arrays.xtc_exempt.data());
  EXPECT_EQ(row.xtc_exempt_count, 3);
}

}  // namespace
}  // namespace stepless::test
