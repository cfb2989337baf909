// config.json at the door: every getter's errors, the quantization block, stop tokens of both
// files.
#include "model/config.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

Config config_of(const std::string& fields) {
  return Config::from_json(parse_json("{\"model_type\":\"llama\"" + fields + "}", "c"), "c.json");
}

template <class F>
void corrupt(std::string_view words, F&& body) {
  expect_error(ErrorCode::corrupt, words, body);
}

TEST(Config, NeedsAnObjectWithAModelType) {
  corrupt("c.json: not a JSON object", [] { Config::from_json(Json::array(), "c.json"); });
  corrupt("c.json: no model_type", [] { Config::from_json(Json::object(), "c.json"); });
  corrupt("model_type is 3; a string", [] { Config::from_json({{"model_type", 3}}, "c.json"); });
}

TEST(Config, NeverRunsCodeThatACheckpointBrings) {
  expect_error(ErrorCode::unsupported, "c.json: model_file",
               [] { config_of(R"(,"model_file":"m.py")"); });
  // auto_map names code for other loaders; nothing here reads it.
  EXPECT_NO_THROW(config_of(R"(,"auto_map":{"AutoModel":"m.M"})"));
}

TEST(Config, Integers) {
  for (const char* bad : {"0", "9", "-1", "2.5", "2.0", "\"3\"", "true", "[3]", "{}", "1e3",
                          "9223372036854775808", "18446744073709551615"}) {
    SCOPED_TRACE(bad);
    corrupt("c.json: n is ", [&] { config_of(std::string(",\"n\":") + bad).integer("n", 1, 8); });
    corrupt("from 1 to 8",
            [&] { config_of(std::string(",\"n\":") + bad).integer_or("n", 4, 1, 8); });
  }
  for (const char* absent : {"", ",\"n\":null"}) {
    corrupt("c.json: no n; a whole number from 1 to 8",
            [&] { config_of(absent).integer("n", 1, 8); });
    EXPECT_EQ(config_of(absent).integer_or("n", 4, 1, 8), 4);
    EXPECT_FALSE(config_of(absent).has("n"));
  }
  EXPECT_EQ(config_of(",\"n\":1").integer("n", 1, 8), 1);
  EXPECT_EQ(config_of(",\"n\":8").integer_or("n", 4, 1, 8), 8);
}

TEST(Config, Numbers) {
  for (const char* bad : {"-0.1", "1.5", "\"1\"", "true", "[]"}) {
    SCOPED_TRACE(bad);
    corrupt("c.json: x is ", [&] { config_of(std::string(",\"x\":") + bad).number("x", 0, 1); });
  }
  corrupt("c.json: no x", [] { config_of("").number("x", 0, 1); });
  EXPECT_EQ(config_of("").number_or("x", 0.25, 0, 1), 0.25);
  EXPECT_EQ(config_of(",\"x\":1").number("x", 0, 1), 1);
  EXPECT_EQ(config_of(",\"x\":1e-6").number_or("x", 0.25, 0, 1), 1e-6);
  Json infinite = {{"model_type", "llama"}, {"x", std::numeric_limits<double>::infinity()}};
  corrupt("c.json: x is ", [&] {
    Config::from_json(infinite, "c.json").number("x", 0, std::numeric_limits<double>::infinity());
  });
}

TEST(Config, FlagsTextsAndObjects) {
  for (const char* bad : {"0", "1", "\"true\"", "[]"})
    corrupt("c.json: f is ", [&] { config_of(std::string(",\"f\":") + bad).flag_or("f", true); });
  EXPECT_TRUE(config_of("").flag_or("f", true));
  EXPECT_FALSE(config_of(",\"f\":false").flag_or("f", true));
  corrupt("c.json: t is 3; a string", [] { config_of(",\"t\":3").text("t"); });
  EXPECT_EQ(config_of(",\"t\":\"a\"").text("t"), "a");
  EXPECT_FALSE(config_of(",\"t\":null").text("t").has_value());
  corrupt("c.json: l is not a list", [] { config_of(",\"l\":\"a\"").texts("l"); });
  corrupt("c.json: l holds 3", [] { config_of(",\"l\":[\"a\",3]").texts("l"); });
  EXPECT_EQ(config_of(",\"l\":[\"a\",\"b\"]").texts("l"), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(config_of("").texts("l").empty());
  corrupt("c.json: o is [1]; an object", [] { config_of(",\"o\":[1]").object("o"); });
  EXPECT_EQ(config_of("").object("o"), nullptr);
  EXPECT_TRUE(config_of(",\"o\":{}").has("o"));
}

TEST(Config, QuantizationNamesLayers) {
  const Config c = config_of(R"(,"quantization":{"group_size":32,"bits":3,"mode":"affine",
      "a":{"bits":8},"b":{"group_size":128,"bits":6,"mode":"affine"},"c":false,"d":true,
      "e":{"mode":"mxfp4"},"f":{"mode":"nvfp4","bits":4,"group_size":16}})");
  EXPECT_TRUE(c.quantized());
  EXPECT_FALSE(c.quantization_of("unnamed").has_value());
  EXPECT_EQ(c.quantization_of("a")->spec, (QuantSpec{Mode::affine, 8, 64}));
  EXPECT_EQ(c.quantization_of("b")->spec, (QuantSpec{Mode::affine, 6, 128}));
  EXPECT_FALSE(c.quantization_of("c")->quantized);
  EXPECT_TRUE(c.quantization_of("d")->quantized);
  EXPECT_EQ(c.quantization_of("d")->spec, (QuantSpec{Mode::affine, 3, 32}));
  EXPECT_EQ(c.quantization_of("e")->spec, (QuantSpec{Mode::mxfp4, 4, 32}));
  EXPECT_EQ(c.quantization_of("f")->spec, (QuantSpec{Mode::nvfp4, 4, 16}));
  EXPECT_FALSE(config_of("").quantized());
  EXPECT_FALSE(config_of("").quantization_of("a").has_value());
}

TEST(Config, QuantizationEntriesThatAreNone) {
  struct Case {
    const char *entry, *words;
  };
  const Case cases[] = {{"3", "quantization.a is 3; an object or false"},
                        {"\"x\"", "quantization.a is \"x\""},
                        {"{\"bits\":7}", "7"},
                        {"{\"bits\":4,\"group_size\":16}", "16"},
                        {"{\"bits\":\"4\"}", "bits is \"4\""},
                        {"{\"bits\":4.0}", "bits is 4.0"},
                        {"{\"bits\":0}", "bits is 0"},
                        {"{\"bits\":99999999999}", "bits is 99999999999"},
                        {"{\"group_size\":-64}", "group_size is -64"},
                        {"{\"mode\":4}", "mode is 4"},
                        {"{\"mode\":\"fp5\"}", "fp5"},
                        {"{\"mode\":\"mxfp4\",\"bits\":8}", "8"},
                        {"{\"mode\":\"nvfp4\",\"group_size\":32}", "32"}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.entry);
    const Config config =
        config_of(std::string(",\"quantization\":{\"bits\":4,\"a\":") + c.entry + "}");
    corrupt("c.json: quantization.a", [&] { config.quantization_of("a"); });
    corrupt(c.words, [&] { config.quantization_of("a"); });
  }
  corrupt("quantization is 4; an object",
          [] { config_of(",\"quantization\":4").quantization_of("a"); });
}

using Ids = std::vector<std::int32_t>;

Ids eos_of(const std::string& config, const std::string& generation) {
  const std::string folder = scratch_dir("eos");
  std::ofstream(folder + "/config.json") << "{\"model_type\":\"llama\"" + config + "}";
  std::filesystem::remove(folder + "/generation_config.json");
  if (!generation.empty()) std::ofstream(folder + "/generation_config.json") << generation;
  return Config::read(folder).eos_ids();
}

TEST(Config, StopTokensOfBothFiles) {
  EXPECT_EQ(eos_of("", ""), Ids{});
  EXPECT_EQ(eos_of(",\"eos_token_id\":null", ""), Ids{});
  EXPECT_EQ(eos_of(",\"eos_token_id\":7", ""), Ids{7});
  EXPECT_EQ(eos_of(",\"eos_token_id\":[7,9]", ""), (Ids{7, 9}));
  EXPECT_EQ(eos_of(",\"eos_token_id\":7", "{\"eos_token_id\":[8,3]}"), (Ids{8, 3}));
  EXPECT_EQ(eos_of(",\"eos_token_id\":7", "{\"eos_token_id\":null}"), Ids{7});
  EXPECT_EQ(eos_of(",\"eos_token_id\":7", "{}"), Ids{7});
  EXPECT_EQ(eos_of("", "{\"eos_token_id\":2147483647}"), Ids{2147483647});
  for (const char* bad : {"-1", "2147483648", "\"2\"", "2.0", "true", "[1,[2]]"}) {
    corrupt("eos_token_id", [&] { eos_of(std::string(",\"eos_token_id\":") + bad, ""); });
    corrupt("generation_config.json: eos_token_id",
            [&] { eos_of("", std::string("{\"eos_token_id\":") + bad + "}"); });
  }
  corrupt("generation_config.json: not a JSON object", [] { eos_of("", "[2]"); });
  corrupt("generation_config.json", [] { eos_of("", "{"); });
}

TEST(Config, FilesThatAreNotThere) {
  expect_error(ErrorCode::not_found, "config.json",
               [] { Config::read(scratch_dir("empty-folder")); });
}

}  // namespace
}  // namespace stepless::test
