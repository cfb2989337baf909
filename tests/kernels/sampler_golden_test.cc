// Every case of samplers.json: distributions made by mlx-lm's own functions and a float64 twin.
#include <gtest/gtest.h>

#include "base/json.hpp"
#include "tests/kernels/sample_case.hpp"
#include "tests/support/paths.hpp"

namespace stepless::test {
namespace {

oracle::SamplingOptions read_options(const Json& json) {
  oracle::SamplingOptions o;
  o.temperature = json.value("temperature", 0.0);
  o.top_p = json.value("top_p", 1.0);
  o.min_p = json.value("min_p", 0.0);
  o.min_tokens_to_keep = json.value("min_tokens_to_keep", 1);
  o.xtc = json.value("xtc_probability", 0.0) > 0;
  o.xtc_threshold = json.value("xtc_threshold", 0.1);
  o.xtc_exempt = json.value("xtc_special_tokens", std::vector<std::int32_t>{});
  o.top_k = json.value("top_k", 0);
  o.repetition = json.value("repetition_penalty", 0.0);
  o.presence = json.value("presence_penalty", 0.0);
  o.frequency = json.value("frequency_penalty", 0.0);
  o.repetition_context = json.value("repetition_context_size", 20);
  o.presence_context = json.value("presence_context_size", 20);
  o.frequency_context = json.value("frequency_context_size", 20);
  if (json.contains("logit_bias"))
    for (const auto& [id, value] : json["logit_bias"].items())
      o.bias[std::stoi(id)] = value.get<double>();
  return o;
}

/// Options this reader does not know would pass unread.
void expect_known(const Json& options) {
  static const std::vector<std::string> kKnown = {"temperature",
                                                  "top_p",
                                                  "min_p",
                                                  "min_tokens_to_keep",
                                                  "xtc_probability",
                                                  "xtc_threshold",
                                                  "xtc_special_tokens",
                                                  "top_k",
                                                  "repetition_penalty",
                                                  "repetition_context_size",
                                                  "presence_penalty",
                                                  "presence_context_size",
                                                  "frequency_penalty",
                                                  "frequency_context_size",
                                                  "logit_bias"};
  for (const auto& [key, value] : options.items())
    EXPECT_NE(std::ranges::find(kKnown, key), kKnown.end()) << key;
}

void expect_same(const oracle::Distribution& got, const std::vector<std::int32_t>& kept,
                 const std::vector<double>& probabilities) {
  ASSERT_EQ(got.kept, kept);
  for (std::size_t i = 0; i < kept.size(); ++i)
    EXPECT_NEAR(got.probabilities[i], probabilities[i], 1e-5) << "token " << kept[i];
}

TEST(SamplerGolden, EveryCaseOfTheFixture) {
  const Json file = read_json(golden_dir() + "/samplers/samplers.json");
  ASSERT_EQ(file["cases"].size(), 74u);
  for (const Json& item : file["cases"]) {
    SCOPED_TRACE(item["name"].get<std::string>());
    expect_known(item["options"]);
    oracle::SamplingOptions options = read_options(item["options"]);
    options.history = item["history"].get<std::vector<std::int32_t>>();
    const auto logits = item["logits"].get<std::vector<float>>();
    const auto kept = item["kept"].get<std::vector<std::int32_t>>();
    const auto probabilities = item["probabilities"].get<std::vector<double>>();
    const SampleCase sample(options);
    expect_same(filtered(sample.row(), logits), kept, probabilities);
    // The oracle of the other tests is held to the same numbers.
    expect_same(oracle::distribution(oracle::penalised(logits, options), options), kept,
                probabilities);
  }
}

}  // namespace
}  // namespace stepless::test
