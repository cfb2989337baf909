#include "base/json.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <string>

#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"

namespace stepless {
namespace {

using test::expect_error;

std::string nested(int depth, char open, char close) {
  if (open == '[')
    return std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), close);
  std::string text;
  for (int i = 0; i < depth; ++i) text += i + 1 == depth ? "{" : "{\"a\":";
  return text + std::string(static_cast<std::size_t>(depth), close);
}

void expect_corrupt(const std::string& text, std::string_view words) {
  SCOPED_TRACE(text.substr(0, 60));
  expect_error(ErrorCode::corrupt, words, [&] { parse_json(text, "some.json"); });
  expect_error(ErrorCode::corrupt, words, [&] { parse_ordered_json(text, "some.json"); });
  expect_error(ErrorCode::corrupt, "some.json: ", [&] { parse_json(text, "some.json"); });
}

TEST(Json, ReadsEveryKindOfValue) {
  const char* text = R"({"b":[1,-2,3.5,true,false,null,"\u00e9\ud83d\ude00"],"a":{"x":[]},"":{}})";
  EXPECT_EQ(parse_json(text, "x"), Json::parse(text));
  EXPECT_EQ(parse_ordered_json(text, "x"), OrderedJson::parse(text));
  EXPECT_EQ(parse_ordered_json(text, "x").dump(), OrderedJson::parse(text).dump());
  EXPECT_EQ(parse_json(" 7 ", "x"), 7);
  EXPECT_TRUE(parse_json("18446744073709551615", "x").is_number_unsigned());
  EXPECT_TRUE(parse_json("18446744073709551616", "x").is_number_float());
}

TEST(Json, KeepsTheOrderOfKeysWhenAsked) {
  EXPECT_EQ(parse_ordered_json(R"({"z":1,"a":{"y":2,"b":3}})", "x").dump(),
            R"({"z":1,"a":{"y":2,"b":3}})");
}

TEST(Json, StopsAtTheDepthLimit) {
  for (const char open : {'[', '{'}) {
    const char close = open == '[' ? ']' : '}';
    EXPECT_NO_THROW(parse_json(nested(64, open, close), "x"));
    expect_corrupt(nested(65, open, close), "deeper than 64");
  }
  EXPECT_NO_THROW(parse_json("[[1]]", "x", {.depth = 2}));
  expect_error(ErrorCode::corrupt, "deeper than 1", [] { parse_json("[[1]]", "x", {.depth = 1}); });
  EXPECT_EQ(parse_json("1", "x", {.depth = 0}), 1);
}

TEST(Json, SurvivesAMillionOpenBrackets) {
  expect_corrupt(std::string(1'000'000, '['), "deeper than 64");
  expect_corrupt(nested(300'000, '{', '}'), "deeper than 64");
}

TEST(Json, RefusesDuplicateKeysByName) {
  expect_corrupt(R"({"rope":1,"x":2,"rope":1})", "key 'rope' occurs twice");
  expect_corrupt(R"([{"a":{"k":1,"\u006b":2}}])", "key 'k' occurs twice");
  EXPECT_NO_THROW(parse_json(R"([{"a":1},{"a":{"a":2}}])", "x"));
}

TEST(Json, RefusesInvalidUtf8) {
  expect_corrupt("{\"a\":\"\xff\"}", "UTF-8");
  expect_corrupt("{\"\xc3\":1}", "UTF-8");
  expect_corrupt("\"\xed\xa0\x80\"", "UTF-8");      // a surrogate
  expect_corrupt("\"\xc0\xaf\"", "UTF-8");          // overlong
  expect_corrupt("\"\xf4\x90\x80\x80\"", "UTF-8");  // beyond U+10FFFF
  expect_corrupt(R"("\ud800")", "surrogate");
}

TEST(Json, RefusesWhatIsNoFiniteNumber) {
  expect_corrupt("[1e999]", "number '1e999'");
  expect_corrupt("[-1e999]", "too large");
  expect_corrupt("[NaN]", "not valid JSON");
  expect_corrupt("[Infinity]", "not valid JSON");
  expect_corrupt("[01]", "not valid JSON");
  EXPECT_EQ(parse_json("[1e-999]", "x")[0].get<double>(), 0.0);
}

TEST(Json, RefusesTextThatIsNotOneValue) {
  expect_corrupt("", "unexpected end of input");
  expect_corrupt("{}{}", "not valid JSON");
  expect_corrupt("[1,]", "not valid JSON");
  expect_corrupt("[1 // no comments\n]", "not valid JSON");
  expect_corrupt("{\"a\":1", "not valid JSON");
  expect_corrupt(std::string("{}\0{\"a\":1}", 10), "NUL byte at offset 2");
  expect_corrupt(std::string("\"a\0\"", 4), "NUL");
  expect_corrupt("\n\n  [tru]", "line 3");
}

TEST(Json, CapsTheSize) {
  expect_error(ErrorCode::exhausted, "x: 4 bytes of JSON; at most 3",
               [] { parse_json("[12]", "x", {.bytes = 3}); });
  EXPECT_NO_THROW(parse_json("[12]", "x", {.bytes = 4}));
}

TEST(Json, ReadsFiles) {
  const std::string folder = test::scratch_dir("json");
  const std::string path = folder + "/a.json";
  std::ofstream(path) << R"({"hidden_size": 64})";
  EXPECT_EQ(read_json(path)["hidden_size"], 64);
  expect_error(ErrorCode::exhausted, "a.json: 19 bytes; at most 5",
               [&] { read_json(path, {.bytes = 5}); });
  expect_error(ErrorCode::not_found, "/none.json", [&] { read_json(folder + "/none.json"); });
  expect_error(ErrorCode::not_found, "not a regular file", [&] { read_json(folder); });
  std::ofstream(path) << "{";
  expect_error(ErrorCode::corrupt, path, [&] { read_json(path); });
  const std::string pipe = folder + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_error(ErrorCode::not_found, "not a regular file", [&] { read_json(pipe); });
}

// A vocabulary has some hundred thousand keys: quadratic work would take minutes here.
TEST(Json, ManyKeysInOneObject) {
  std::string text = "{";
  for (int i = 0; i < 40'000; ++i)
    text += (i == 0 ? "\"t" : ",\"t") + std::to_string(i) + "\":" + std::to_string(i);
  text += "}";
  EXPECT_EQ(parse_json(text, "x").size(), 40'000u);
  EXPECT_EQ(parse_ordered_json(text, "x").size(), 40'000u);
  text.back() = ',';
  text += "\"t777\":0}";
  expect_corrupt(text, "key 't777' occurs twice");
}

}  // namespace
}  // namespace stepless
