// Streams: whatever the borders of tokens, the same text, the same stop; never half a character.
#include "text/detokenizer.hpp"

#include <gtest/gtest.h>

#include <random>

#include "base/json.hpp"
#include "stepless/error.hpp"
#include "tests/support/paths.hpp"
#include "tests/text/tiny_tokenizer.hpp"
#include "text/utf8.hpp"

namespace stepless {
namespace {

const Tokenizer& llama3() {
  static const Tokenizer tokenizer =
      Tokenizer::load(test::golden_dir() + "/tokenizers/llama3/tokenizer.json");
  return tokenizer;
}

const Tokenizer& llama2() {
  static const Tokenizer tokenizer =
      Tokenizer::load(test::golden_dir() + "/tokenizers/llama2/tokenizer.json");
  return tokenizer;
}

// One id per byte: the finest borders there are.
std::vector<TokenId> byte_ids(const std::string& text) {
  std::vector<TokenId> ids;
  Json json = Json::object();
  for (const char byte : text) {
    const std::string one(1, byte);
    const auto value = static_cast<unsigned char>(byte);
    const char* hex = "0123456789ABCDEF";
    ids.push_back(*llama2().id_of(std::string("<0x") + hex[value / 16] + hex[value % 16] + ">"));
  }
  return ids;
}

struct Result {
  std::string text;
  bool stopped;
  bool operator==(const Result&) const = default;
};

Result run(Detokenizer stream, const std::vector<TokenId>& ids) {
  std::string text;
  for (const TokenId id : ids) {
    text += stream.push(id);
    EXPECT_TRUE(is_utf8(text));
  }
  text += stream.finish();
  return {text, stream.stopped()};
}

// What a reader of the whole text would do: the stop that ends first, the longest of those.
Result by_definition(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t length = 0;
    for (const std::string& stop : stops)
      if (stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0)
        length = std::max(length, stop.size());
    if (length > 0) return {text.substr(0, end - length), true};
  }
  return {text, false};
}

TEST(Detokenizer, StopsWhereverTokensPart) {
  std::mt19937 random(2);
  const std::string alphabet[] = {"a", "b", " ", "\xC3\xA9", "\xC3\xA8", "\xF0\x9F\x98\x80"};
  const auto word = [&](std::size_t most) {
    std::string text;
    for (std::size_t n = 1 + random() % most; n > 0; --n) text += alphabet[random() % 6];
    return text;
  };
  int stopped = 0;
  for (int round = 0; round < 1500; ++round) {
    const std::string text = "b" + word(24);
    std::vector<std::string> stops;
    for (std::size_t n = random() % 3; n > 0; --n) stops.push_back(word(5));
    const Result expected = by_definition(text, stops);
    stopped += expected.stopped;
    ASSERT_EQ(run(Detokenizer(llama3(), stops, false), llama3().encode(text)), expected) << text;
    ASSERT_EQ(run(Detokenizer(llama2(), stops, false), byte_ids(text)), expected) << text;
  }
  EXPECT_GT(stopped, 300);
}

TEST(Detokenizer, HoldsBackOnlyWhatMayBeAStop) {
  Detokenizer stream(llama3(), {"king."}, false);
  std::string released;
  for (const TokenId id : llama3().encode("the king")) released += stream.push(id);
  EXPECT_EQ(released, "the ");
  EXPECT_EQ(stream.push(llama3().encode("d")[0]), "kingd");
  EXPECT_EQ(stream.push(llama3().encode("k")[0]), "");
  EXPECT_EQ(stream.finish(), "k");
  EXPECT_FALSE(stream.stopped());
}

TEST(Detokenizer, NothingComesBehindAStop) {
  Detokenizer stream(llama3(), {"."}, false);
  std::string released;
  for (const TokenId id : llama3().encode("one. two. three")) released += stream.push(id);
  EXPECT_EQ(released + stream.finish(), "one");
  EXPECT_TRUE(stream.stopped());
}

TEST(Detokenizer, WaitsForWholeCharacters) {
  Detokenizer bytes(llama2(), {}, false);
  const auto ids = byte_ids("b\xF0\x9F\x98\x80\xE2\x82");
  std::vector<std::string> pieces;
  for (const TokenId id : ids) pieces.push_back(bytes.push(id));
  EXPECT_EQ(pieces, (std::vector<std::string>{"b", "", "", "", "\xF0\x9F\x98\x80", "", ""}));
  EXPECT_EQ(bytes.finish(), "\xEF\xBF\xBD\xEF\xBF\xBD");  // ByteFallback: one per byte
}

TEST(Detokenizer, ACopyGoesItsOwnWay) {
  Detokenizer stream(llama3(), {"stop"}, false);
  const auto push_all = [](Detokenizer& to, const std::string& text) {
    std::string out;
    for (const TokenId id : llama3().encode(text)) out += to.push(id);
    return out;
  };
  EXPECT_EQ(push_all(stream, "a st"), "a ");
  Detokenizer draft = stream;
  push_all(draft, "op");
  EXPECT_TRUE(draft.stopped());
  EXPECT_FALSE(stream.stopped());
  EXPECT_EQ(push_all(stream, "art"), "start");
  draft = stream;
  EXPECT_FALSE(draft.stopped());
}

TEST(Detokenizer, OutlivesItsTokenizer) {
  auto tokenizer =
      std::make_unique<Tokenizer>(Tokenizer::from_json(test::tiny_tokenizer(), "t.json"));
  Detokenizer stream(*tokenizer, {}, true);
  tokenizer.reset();
  EXPECT_EQ(stream.push(5) + stream.push(7) + stream.push(99) + stream.push(-1), "abc");
}

TEST(Detokenizer, SkipsSpecialTokens) {
  const auto ids = llama3().encode("a<|eot_id|>b");
  EXPECT_EQ(run(Detokenizer(llama3(), {}, true), ids).text, "ab");
  EXPECT_EQ(run(Detokenizer(llama3(), {}, false), ids).text, "a<|eot_id|>b");
}

TEST(Detokenizer, EmptyStopsAreRefused) {
  EXPECT_THROW(Detokenizer(llama3(), {"a", ""}, false), Error);
}

// Steps behind Fuse see one text that arrives in pieces.
TEST(Detokenizer, StreamsEqualDecodeForEveryDecoder) {
  const Json fuse = {{"type", "Fuse"}};
  const auto strip = [](int start, int stop) {
    return Json{{"type", "Strip"}, {"content", "a"}, {"start", start}, {"stop", stop}};
  };
  const auto replace = [](const char* from, const char* to) {
    return Json{{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
  };
  const auto sequence = [](std::initializer_list<Json> parts) {
    return Json{{"type", "Sequence"}, {"decoders", Json(std::vector<Json>(parts))}};
  };
  const Json decoders[] = {nullptr,
                           fuse,
                           strip(1, 2),
                           replace("ab", "b"),
                           sequence({fuse, strip(2, 3)}),
                           sequence({strip(1, 0), fuse, strip(0, 2)}),
                           sequence({fuse, replace("aab", "a"), replace("ba", "x")}),
                           sequence({fuse, replace("ab", "a"), strip(1, 1)})};
  std::mt19937 random(8);
  for (const Json& decoder : decoders) {
    Json json = test::tiny_tokenizer();
    json["decoder"] = decoder;
    const Tokenizer tokenizer = Tokenizer::from_json(json, "t.json");
    for (int round = 0; round < 300; ++round) {
      std::vector<TokenId> ids;
      for (std::size_t n = random() % 10; n > 0; --n)
        ids.push_back(static_cast<TokenId>(random() % 6));
      ASSERT_EQ(run(Detokenizer(tokenizer, {}, false), ids).text, tokenizer.decode(ids))
          << decoder.dump();
    }
  }
}

}  // namespace
}  // namespace stepless
