// Sizes and rotary embeddings from config.json: the formulas computed here once more, and every
// field at its edges.
#include "model/transformer.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "kernels/args.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

Json shape_json() {
  return {{"model_type", "llama"},    {"hidden_size", 64},        {"num_hidden_layers", 2},
          {"intermediate_size", 128}, {"num_attention_heads", 4}, {"num_key_value_heads", 2},
          {"vocab_size", 96},         {"rms_norm_eps", 1e-5},     {"rope_theta", 10000.0}};
}

TransformerShape shape_with(const char* field, const Json& value) {
  Json json = shape_json();
  json[field] = value;
  return read_shape(Config::from_json(json, "c.json"), true);
}

TEST(ReadShape, Defaults) {
  const TransformerShape s = read_shape(Config::from_json(shape_json(), "c.json"), true);
  EXPECT_EQ(s.hidden, 64);
  EXPECT_EQ(s.layers, 2);
  EXPECT_EQ(s.intermediate, 128);
  EXPECT_EQ(s.heads, 4);
  EXPECT_EQ(s.kv_heads, 2);
  EXPECT_EQ(s.head_dim, 16);
  EXPECT_EQ(s.vocab, 96);
  EXPECT_EQ(s.norm_epsilon, 1e-5f);
  EXPECT_TRUE(s.tied);
  EXPECT_FALSE(read_shape(Config::from_json(shape_json(), "c.json"), false).tied);
  EXPECT_FALSE(shape_with("tie_word_embeddings", false).tied);
  EXPECT_EQ(shape_with("num_key_value_heads", nullptr).kv_heads, 4);
  EXPECT_EQ(shape_with("head_dim", 24).head_dim, 24);
  EXPECT_EQ(shape_with("head_dim", kernels::kMaxHeadDim).head_dim, kernels::kMaxHeadDim);
}

TEST(ReadShape, EveryFieldAtItsEdges) {
  struct Case {
    const char* field;
    Json value;
    const char* words;
  };
  const Case cases[] = {
      {"hidden_size", nullptr, "no hidden_size"},
      {"hidden_size", 0, "hidden_size is 0"},
      {"hidden_size", (1 << 24) + 1, "hidden_size is 16777217"},
      {"hidden_size", 66, "hidden_size 66 is no multiple of num_attention_heads 4"},
      {"num_hidden_layers", 0, "num_hidden_layers is 0"},
      {"num_hidden_layers", 4097, "num_hidden_layers is 4097"},
      {"intermediate_size", -128, "intermediate_size is -128"},
      {"num_attention_heads", 0, "num_attention_heads is 0"},
      {"num_key_value_heads", 3, "num_attention_heads 4 is no multiple of num_key_value_heads 3"},
      {"num_key_value_heads", 8, "no multiple of num_key_value_heads 8"},
      {"num_key_value_heads", 0, "num_key_value_heads is 0"},
      {"head_dim", 15, "head_dim 15 is odd"},
      {"head_dim", 0, "head_dim is 0"},
      {"head_dim", 1, "head_dim is 1"},
      {"head_dim", kernels::kMaxHeadDim + 2, "head_dim is 1026"},
      {"num_attention_heads", 64, "head_dim 1"},
      {"vocab_size", nullptr, "no vocab_size"},
      {"vocab_size", std::int64_t{1} << 40, "vocab_size is 1099511627776"},
      {"rms_norm_eps", nullptr, "no rms_norm_eps"},
      {"rms_norm_eps", -1e-6, "rms_norm_eps is -1e-06"},
      {"rms_norm_eps", "1e-6", "rms_norm_eps is \"1e-6\""},
      {"tie_word_embeddings", 1, "tie_word_embeddings is 1"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.field) + " = " + c.value.dump());
    expect_error(ErrorCode::corrupt, c.words, [&] { shape_with(c.field, c.value); });
  }
  // Heads of hidden / heads elements may be too wide just as well.
  Json wide = shape_json();
  wide["hidden_size"] = 8192, wide["num_attention_heads"] = 2;
  expect_error(ErrorCode::corrupt, "head_dim 4096",
               [&] { read_shape(Config::from_json(wide, "c.json"), true); });
}

RopeSpec rope_of(const Json& fields, std::int64_t dims = 16,
                 std::optional<double> theta_by_default = 10000.0) {
  Json json = {{"model_type", "llama"}};
  if (!fields.is_null()) json.update(fields);
  return read_rope(Config::from_json(json, "c.json"), dims, theta_by_default);
}

double plain_frequency(double theta, std::int64_t dims, std::size_t pair) {
  return 1 / std::pow(theta, 2.0 * static_cast<double>(pair) / static_cast<double>(dims));
}

void expect_near(const RopeSpec& rope, const std::vector<double>& want) {
  ASSERT_EQ(rope.inv_freq.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(rope.inv_freq[i] / want[i], 1, 1e-12) << "pair " << i;
}

std::vector<double> plain_frequencies(double theta, std::int64_t dims, double divisor = 1) {
  std::vector<double> all;
  for (std::size_t i = 0; i < static_cast<std::size_t>(dims / 2); ++i)
    all.push_back(plain_frequency(theta, dims, i) / divisor);
  return all;
}

TEST(ReadRope, ThetaFromWhereverItStands) {
  expect_near(rope_of({}), plain_frequencies(10000, 16));
  expect_near(rope_of({{"rope_theta", 500000}}), plain_frequencies(500000, 16));
  expect_near(rope_of({{"rope_parameters", {{"rope_theta", 1e6}, {"rope_type", "default"}}}}, 64),
              plain_frequencies(1e6, 64));
  expect_near(rope_of({{"rope_parameters", {{"rope_type", "default"}}}}),
              plain_frequencies(10000, 16));
  expect_near(rope_of({{"rope_theta", 100}, {"rope_scaling", nullptr}}),
              plain_frequencies(100, 16));
  expect_error(ErrorCode::corrupt, "no rope_theta", [] { rope_of({}, 16, {}); });
  expect_error(ErrorCode::corrupt, "no rope_theta", [] {
    rope_of({{"rope_parameters", Json::object()}}, 16, {});
  });
  for (const Json& bad : {Json(0), Json(0.5), Json(-10), Json(1e300), Json("1e4"), Json(true)}) {
    SCOPED_TRACE(bad.dump());
    expect_error(ErrorCode::corrupt, "rope_theta is", [&] { rope_of({{"rope_theta", bad}}); });
    expect_error(ErrorCode::corrupt, "rope_theta is", [&] {
      rope_of({{"rope_parameters", {{"rope_theta", bad}}}});
    });
  }
  EXPECT_TRUE(rope_of({{"rope_traditional", true}}).interleaved);
  EXPECT_FALSE(rope_of({}).interleaved);
}

TEST(ReadRope, Linear) {
  for (const char* key : {"type", "rope_type"})
    expect_near(rope_of({{"rope_scaling", {{key, "linear"}, {"factor", 4}}}}),
                plain_frequencies(10000, 16, 4));
  EXPECT_EQ(rope_of({{"rope_scaling", {{"type", "linear"}, {"factor", 4}}}}).scale, 1);
}

TEST(ReadRope, Llama3) {
  const double factor = 8, low = 1, high = 4, context = 8192, theta = 500000;
  const RopeSpec rope = rope_of({{"rope_theta", theta},
                                 {"rope_scaling",
                                  {{"rope_type", "llama3"},
                                   {"factor", factor},
                                   {"low_freq_factor", low},
                                   {"high_freq_factor", high},
                                   {"original_max_position_embeddings", context}}}},
                                128);
  std::vector<double> want;
  int kept = 0, divided = 0, blended = 0;
  for (std::size_t i = 0; i < 64; ++i) {
    const double inv = plain_frequency(theta, 128, i);
    const double turns = context * inv / (2 * std::numbers::pi);  // in the original context
    if (turns < low)
      ++divided, want.push_back(inv / factor);
    else if (turns > high)
      ++kept, want.push_back(inv);
    else
      ++blended,
          want.push_back(inv * (1 / factor + (1 - 1 / factor) * (turns - low) / (high - low)));
  }
  EXPECT_GT(kept, 5);
  EXPECT_GT(divided, 5);
  EXPECT_GT(blended, 2);
  expect_near(rope, want);
  EXPECT_EQ(rope.scale, 1);
}

/// YaRN by its paper: wavelengths compared with beta, mapped back to dimensions.
TEST(ReadRope, Yarn) {
  const double factor = 4, context = 4096, theta = 1e6;
  const std::int64_t dims = 128;
  const RopeSpec rope = rope_of(
      {{"rope_theta", theta},
       {"rope_scaling",
        {{"type", "yarn"}, {"factor", factor}, {"original_max_position_embeddings", context}}}},
      dims);
  const auto dimension = [&](double turns) {
    return static_cast<double>(dims) * std::log(context / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  const double low = std::floor(dimension(32)), high = std::ceil(dimension(1));
  ASSERT_GT(low, 0);
  ASSERT_LT(high, 64);
  std::vector<double> want;
  for (std::size_t i = 0; i < 64; ++i) {
    const double inv = plain_frequency(theta, dims, i);
    const double x = static_cast<double>(i);
    const double mix = x <= low ? 0 : x >= high ? 1 : (x - low) / (high - low);
    want.push_back(inv * (1 - mix) + inv / factor * mix);
  }
  expect_near(rope, want);
  EXPECT_NEAR(rope.scale, 0.1 * std::log(factor) + 1, 1e-12);
  Json scaling = {{"type", "yarn"}, {"factor", factor}, {"mscale", 0.7}, {"mscale_all_dim", 1.0}};
  EXPECT_NEAR(rope_of({{"rope_scaling", scaling}}).scale,
              (0.07 * std::log(factor) + 1) / (0.1 * std::log(factor) + 1), 1e-12);
  scaling["factor"] = 1;
  EXPECT_EQ(rope_of({{"rope_scaling", scaling}}).scale, 1);
  expect_near(rope_of({{"rope_scaling", scaling}}), plain_frequencies(10000, 16));
}

TEST(ReadRope, FieldsThatAreMissingOrNoNumbers) {
  for (const char* type : {"linear", "llama3", "yarn"}) {
    SCOPED_TRACE(type);
    expect_error(ErrorCode::corrupt, "rope scaling has no factor", [&] {
      rope_of({{"rope_scaling", {{"type", type}}}});
    });
    for (const Json& bad : {Json(0), Json(-1), Json("4"), Json(true), Json::array(),
                            Json(std::numeric_limits<double>::infinity()),
                            Json(std::numeric_limits<double>::quiet_NaN())})
      expect_error(ErrorCode::corrupt, "c.json: rope scaling's factor is ", [&] {
        rope_of({{"rope_scaling", {{"type", type}, {"factor", bad}}}});
      });
  }
  for (const char* field :
       {"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"})
    expect_error(ErrorCode::corrupt, field, [&] {
      rope_of({{"rope_scaling", {{"type", "llama3"}, {"factor", 8}, {field, 0}}}});
    });
  for (const char* field : {"beta_fast", "beta_slow", "original_max_position_embeddings"})
    expect_error(ErrorCode::corrupt, field, [&] {
      rope_of({{"rope_scaling", {{"type", "yarn"}, {"factor", 8}, {field, 0}}}});
    });
  expect_error(ErrorCode::corrupt, "rope scaling's type is 3", [] {
    rope_of({{"rope_scaling", {{"type", 3}}}});
  });
  expect_error(ErrorCode::unsupported, "\"dynamic\"", [] {
    rope_of({{"rope_scaling", {{"type", "dynamic"}}}});
  });
  expect_error(ErrorCode::corrupt, "rope_scaling is 4; an object", [] {
    rope_of({{"rope_scaling", 4}});
  });
}

TEST(ReadRope, FrequenciesAreFinite) {
  // Every field is a number; what they make together is not.
  expect_error(ErrorCode::corrupt, "rope", [] {
    rope_of({{"rope_theta", 1}, {"rope_scaling", {{"type", "yarn"}, {"factor", 4}}}});
  });
  expect_error(ErrorCode::corrupt, "rope", [] {
    rope_of({{"rope_scaling", {{"type", "linear"}, {"factor", 1e-320}}}});
  });
}

TEST(ReadWindows, SlidingLayersByName) {
  Json json = {{"model_type", "llama"}, {"sliding_window", 16}};
  const auto windows = [&](std::int64_t layers) {
    return read_windows(Config::from_json(json, "c.json"), layers);
  };
  EXPECT_EQ(windows(3), (std::vector<std::int64_t>{0, 0, 0}));
  json["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
  EXPECT_EQ(windows(3), (std::vector<std::int64_t>{16, 0, 16}));
  expect_error(ErrorCode::corrupt, "layer_types has 3 entries, num_hidden_layers is 2",
               [&] { windows(2); });
  expect_error(ErrorCode::corrupt, "layer_types has 3 entries, num_hidden_layers is 4",
               [&] { windows(4); });
  json["sliding_window"] = nullptr;
  expect_error(ErrorCode::corrupt, "no sliding_window", [&] { windows(3); });
  json["sliding_window"] = 0;
  expect_error(ErrorCode::corrupt, "sliding_window is 0", [&] { windows(3); });
  json["layer_types"][1] = "linear_attention";
  json["sliding_window"] = 4;
  expect_error(ErrorCode::unsupported, "layer_types[1] is \"linear_attention\"",
               [&] { windows(3); });
}

}  // namespace
}  // namespace stepless::test
