// hardening L8: a malformed tokenizer.json is an Error that names the thing and the values.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/paths.hpp"
#include "tests/text/tiny_tokenizer.hpp"

namespace stepless {
namespace {

using test::load_error;
using test::tiny_tokenizer;
using testing::AllOf;
using testing::HasSubstr;

void expect_error(const Json& json, ErrorCode code, std::initializer_list<const char*> words) {
  const Error error = load_error(json);
  EXPECT_EQ(error.code(), code) << error.what();
  EXPECT_THAT(error.what(), testing::StartsWith("t.json"));
  for (const char* word : words) EXPECT_THAT(error.what(), HasSubstr(word));
}

Json with(const char* pointer, Json value) {
  Json json = tiny_tokenizer();
  json[Json::json_pointer(pointer)] = std::move(value);
  return json;
}

TEST(TokenizerFaults, TheTinyFileLoads) {
  const Tokenizer tokenizer = Tokenizer::from_json(tiny_tokenizer(), "t.json");
  EXPECT_EQ(tokenizer.encode("abcd<end>"), (std::vector<TokenId>{5, 3, 7}));
  EXPECT_EQ(tokenizer.vocab_size(), 8);
}

TEST(TokenizerFaults, FileTooLargeOrAbsent) {
  const std::string path = test::scratch_dir("tokenizer") + "/large.json";
  std::ofstream(path) << "{}";
  std::filesystem::resize_file(path, (std::uintmax_t{128} << 20) + 1);
  try {
    Tokenizer::load(path);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::exhausted);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("large.json"), HasSubstr("134217729")));
  }
  EXPECT_THROW(Tokenizer::load(path + ".not"), Error);
}

TEST(TokenizerFaults, IdsThatAreNoIds) {
  for (const Json& bad : {Json(-1), Json(1.5), Json("3"), Json(nullptr), Json(true)})
    expect_error(with("/model/vocab/b", bad), ErrorCode::corrupt, {"'b'", "vocab"});
  for (const std::uint64_t huge : {std::uint64_t{1038}, std::uint64_t{1} << 31, ~std::uint64_t{0}})
    expect_error(with("/model/vocab/b", huge), ErrorCode::corrupt,
                 {"'b'", std::to_string(huge).c_str(), "1037"});
  EXPECT_EQ(Tokenizer::from_json(with("/model/vocab/d", 1037), "t").vocab_size(), 1038);
}

TEST(TokenizerFaults, IdsThatAreNotUnique) {
  expect_error(with("/model/vocab/b", 0), ErrorCode::corrupt, {"'a'", "'b'", "id 0", "unique"});
  expect_error(with("/added_tokens/0/id", 5), ErrorCode::corrupt, {"'<end>'", "'abc'", "5"});
  Json json = tiny_tokenizer();
  json["added_tokens"].push_back(json["added_tokens"][0]);
  EXPECT_NO_THROW(Tokenizer::from_json(json, "t.json"));
  json["added_tokens"][1]["id"] = 8;
  expect_error(json, ErrorCode::corrupt, {"added_tokens[1]", "7 and 8"});
  json["added_tokens"][1]["id"] = 7;
  json["added_tokens"][1]["content"] = "<other>";
  expect_error(json, ErrorCode::corrupt, {"'<other>'", "'<end>'", "id 7"});
  json["added_tokens"][1]["content"] = "abc";
  json["added_tokens"][1]["id"] = 4;
  expect_error(json, ErrorCode::corrupt, {"'abc'", "4", "5"});
  expect_error(with("/added_tokens/0/id", 100000), ErrorCode::corrupt, {"'<end>'", "100000"});
}

TEST(TokenizerFaults, MergesOfUnknownTokens) {
  expect_error(with("/model/merges/1", "ab x"), ErrorCode::corrupt, {"merges[1]", "'x'"});
  expect_error(with("/model/merges/1", Json{"x", "a"}), ErrorCode::corrupt, {"merges[1]", "'x'"});
  expect_error(with("/model/merges/1", "b c"), ErrorCode::corrupt, {"merges[1]", "'bc'"});
  for (const Json& bad : {Json("ab"), Json("a b c"), Json(3), Json{"a"}, Json{"a", "b", "c"},
                          Json{"a", 2}, Json(nullptr)})
    expect_error(with("/model/merges/1", bad), ErrorCode::corrupt, {"merges[1]"});
  EXPECT_NO_THROW(Tokenizer::from_json(with("/model/merges/0", "#version: 0.2"), "t.json"));
}

TEST(TokenizerFaults, ByteTokensHaveTwoHexDigits) {
  for (const char* bad : {"<0x>", "<0x4>", "<0x041>", "<0xG1>", "<0x+1>", "<0x 1>"}) {
    Json json = with("/model/byte_fallback", true);
    json["model"]["vocab"][bad] = 8;
    expect_error(json, ErrorCode::corrupt, {bad, "two hex digits"});
    json["model"]["byte_fallback"] = false;  // then it is a token like any other
    EXPECT_NO_THROW(Tokenizer::from_json(json, "t.json"));
  }
  Json json = with("/model/byte_fallback", true);
  json["model"]["vocab"]["<0x7A>"] = 8;
  EXPECT_EQ(Tokenizer::from_json(json, "t.json").encode("az"), (std::vector<TokenId>{0, 8}));
}

TEST(TokenizerFaults, ComponentsThatAreNotSupportedAreNamed) {
  for (const char* place : {"normalizer", "pre_tokenizer", "post_processor", "decoder", "model"}) {
    expect_error(with((std::string("/") + place + "/type").c_str(), "Unigram"),
                 ErrorCode::unsupported, {place, "'Unigram'", "not supported"});
    expect_error(with((std::string("/") + place + "/type").c_str(), 3), ErrorCode::corrupt,
                 {place, "type"});
  }
  expect_error(with("/model/dropout", 0.1), ErrorCode::unsupported, {"dropout 0.1"});
  expect_error(with("/model/end_of_word_suffix", "</w>"), ErrorCode::unsupported, {"'</w>'"});
  expect_error(with("/model/continuing_subword_prefix", "##"), ErrorCode::unsupported, {"'##'"});
  EXPECT_NO_THROW(Tokenizer::from_json(with("/model/dropout", 0.0), "t.json"));
  EXPECT_NO_THROW(Tokenizer::from_json(with("/model/end_of_word_suffix", ""), "t.json"));
}

TEST(TokenizerFaults, FieldsOfTheWrongKind) {
  expect_error(with("/model/unk_token", "<unk>"), ErrorCode::corrupt, {"unk_token '<unk>'", "7"});
  expect_error(with("/model/byte_fallback", "yes"), ErrorCode::corrupt, {"byte_fallback"});
  expect_error(with("/model/vocab", Json::array()), ErrorCode::corrupt, {"vocab", "array"});
  expect_error(with("/model/merges", 1), ErrorCode::corrupt, {"merges"});
  expect_error(with("/added_tokens", 1), ErrorCode::corrupt, {"added_tokens"});
  expect_error(with("/added_tokens/0/special", 1), ErrorCode::corrupt, {"special"});
  expect_error(with("/added_tokens/0/content", std::string(5000, 'x')), ErrorCode::exhausted,
               {"5000", "4096"});
  expect_error(
      with("/decoder", Json{{"type", "Strip"}, {"content", "ab"}, {"start", 1}, {"stop", 0}}),
      ErrorCode::corrupt, {"'ab'"});
  expect_error(with("/pre_tokenizer", Json{{"type", "Metaspace"}, {"replacement", "__"}}),
               ErrorCode::corrupt, {"'__'"});
  expect_error(Json::array(), ErrorCode::corrupt, {"array"});
  Json none = tiny_tokenizer();
  none.erase("model");
  expect_error(none, ErrorCode::corrupt, {"model"});
}

TEST(TokenizerFaults, TemplatesNameKnownIds) {
  const auto processing = [](int id, const char* listed) {
    return Json{
        {"type", "TemplateProcessing"},
        {"single", Json::array({Json{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
                                Json{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}})},
        {"special_tokens", {{listed, {{"id", "<s>"}, {"ids", {id}}, {"tokens", {"<s>"}}}}}}};
  };
  expect_error(with("/post_processor", processing(99, "<s>")), ErrorCode::corrupt,
               {"post_processor", "99"});
  expect_error(with("/post_processor", processing(1, "</s>")), ErrorCode::corrupt, {"'<s>'"});
  const Tokenizer good = Tokenizer::from_json(with("/post_processor", processing(3, "<s>")), "t");
  EXPECT_EQ(good.encode_with_template("ab"), (std::vector<TokenId>{3, 4}));
}

Json split_by(const std::string& regex) {
  return with("/pre_tokenizer", Json{{"type", "Split"},
                                     {"pattern", {{"Regex", regex}}},
                                     {"behavior", "Isolated"},
                                     {"invert", false}});
}

TEST(TokenizerFaults, RegexesThatAreWrong) {
  for (const char* bad :
       {"(", ")", "[a", "[]", "\\", "\\p{", "\\p{Klingon}", "\\p{}", "a(?<n", "*a", "\\x{110000}",
        "\\x{d800}", "\\u12", "[b-a]", "(?:a", "[[:alpha", "(?#"})
    expect_error(split_by(bad), ErrorCode::corrupt, {"pre_tokenizer", "regex"});
  for (const char* other : {"\\xE9", "\\g<1>", "(?x:a b)", "(?~a)", "\\y"})
    expect_error(split_by(other), ErrorCode::unsupported, {"pre_tokenizer", "not supported"});
  expect_error(split_by(""), ErrorCode::unsupported, {"empty"});
  expect_error(split_by(std::string(70000, 'a')), ErrorCode::exhausted, {"70000", "65536"});
  expect_error(split_by(std::string(100, '[') + "a" + std::string(100, ']')), ErrorCode::corrupt,
               {"nested"});
  expect_error(split_by(std::string(5000, '(') + "a" + std::string(5000, ')')), ErrorCode::corrupt,
               {"pre_tokenizer"});
}

TEST(TokenizerFaults, RegexesThatNeverEndAreStopped) {
  const Tokenizer tokenizer = Tokenizer::from_json(split_by("(?:a+)+[bd]"), "t.json");
  EXPECT_EQ(tokenizer.encode("aab").size(), 2u);
  try {
    tokenizer.encode(std::string(200, 'a') + "c");
    FAIL() << "a regex that backtracks for ever came back";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("regex"), HasSubstr("201 bytes")));
  }
}

// A group that alternates keeps state per repetition.
TEST(TokenizerFaults, RegexesThatRecurseDeepAreServedThenStopped) {
  const Tokenizer tokenizer = Tokenizer::from_json(split_by("(?:a|b(?=b|c))+c"), "t.json");
  EXPECT_EQ(tokenizer.encode(std::string(100000, 'a') + "c").size(), 100001u);
  try {
    tokenizer.encode(std::string(1 << 20, 'a') + "c");
    FAIL() << "a million levels fit in the memory of one match";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.what();
    EXPECT_THAT(error.what(), HasSubstr("limit"));
  }
}

}  // namespace
}  // namespace stepless
