// BPE against the plain definition: join the neighbours of lowest rank, leftmost first, until
// nothing joins.
#include "text/bpe.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/text/tiny_tokenizer.hpp"
#include "text/byte_level.hpp"

namespace stepless {
namespace {

struct Merges {
  std::vector<std::pair<std::string, std::string>> list;
  Json model(bool prefixed) const {
    Json json = test::tiny_tokenizer()["model"];
    json["vocab"] = Json::object();
    json["merges"] = Json::array();
    int id = prefixed ? 10 : 0;  // ids need not start at 0
    for (const char* letter : {"a", "b", "c", "d"}) json["vocab"][letter] = id++;
    for (const auto& [left, right] : list) {
      json["vocab"][left + right] = id++;
      json["merges"].push_back({left, right});
    }
    return json;
  }
};

// Random merges over a small alphabet, so that they nest, overlap and compete.
Merges random_merges(std::mt19937& random, int count) {
  Merges merges;
  std::vector<std::string> tokens = {"a", "b", "c", "d"};
  while (static_cast<int>(merges.list.size()) < count) {
    const std::string left = tokens[random() % tokens.size()];
    const std::string right = tokens[random() % tokens.size()];
    if (std::find(tokens.begin(), tokens.end(), left + right) != tokens.end()) continue;
    merges.list.push_back({left, right});
    tokens.push_back(left + right);
  }
  return merges;
}

std::vector<std::string> by_definition(const Merges& merges, const std::string& word) {
  std::map<std::pair<std::string, std::string>, std::size_t> ranks;
  for (std::size_t i = 0; i < merges.list.size(); ++i) ranks[merges.list[i]] = i;
  std::vector<std::string> parts;
  for (const char c : word) parts.emplace_back(1, c);
  while (true) {
    std::size_t best = ranks.size(), at = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto rank = ranks.find({parts[i], parts[i + 1]});
      if (rank != ranks.end() && rank->second < best) {
        best = rank->second;
        at = i;
      }
    }
    if (best == ranks.size()) return parts;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(Bpe, EqualsTheDefinition) {
  std::mt19937 random(3);
  for (int round = 0; round < 60; ++round) {
    const Merges merges = random_merges(random, 1 + static_cast<int>(random() % 30));
    const Bpe bytes = Bpe::from_json(merges.model(true), Bpe::Input::bytes, "model");
    const Bpe text = Bpe::from_json(merges.model(false), Bpe::Input::text, "model");
    BpeScratch scratch;
    if (round % 2 == 0) scratch.cache.enable();
    BpeScratch text_scratch;
    if (round % 3 == 0) text_scratch.cache.enable();
    for (int i = 0; i < 60; ++i) {  // lengths on both sides of every border inside
      std::string word;
      for (std::size_t n = 1 + random() % 90; n > 0; --n) word.push_back("abcd"[random() % 4]);
      std::vector<std::string> expected = by_definition(merges, word), got, got_text;
      std::vector<TokenId> ids;
      bytes.encode(word, Bpe::Special::allowed, scratch, ids);
      for (const TokenId id : ids) got.emplace_back(bytes.vocabulary().token(id));
      ASSERT_EQ(got, expected) << word;
      ids.clear();
      text.encode(word, Bpe::Special::allowed, text_scratch, ids);
      for (const TokenId id : ids) got_text.emplace_back(text.vocabulary().token(id));
      ASSERT_EQ(got_text, expected) << word;
    }
  }
}

TEST(Bpe, ALaterMergeOfTheSamePairCounts) {
  Json model = test::tiny_tokenizer()["model"];
  model["merges"] = {"a b", "b c", "a b"};
  model["vocab"]["bc"] = 9;
  const Bpe bpe = Bpe::from_json(model, Bpe::Input::text, "model");
  BpeScratch scratch;
  std::vector<TokenId> ids;
  bpe.encode("abc", Bpe::Special::allowed, scratch, ids);
  EXPECT_EQ(ids, (std::vector<TokenId>{0, 9}));
}

TEST(Bpe, AMillionLettersInOneWord) {
  std::mt19937 random(5);
  const Merges merges = random_merges(random, 40);
  const Bpe bpe = Bpe::from_json(merges.model(false), Bpe::Input::bytes, "model");
  for (const bool same : {true, false}) {
    std::string word, joined;
    for (int i = 0; i < 1 << 20; ++i) word.push_back(same ? 'a' : "abcd"[random() % 4]);
    BpeScratch scratch;
    std::vector<TokenId> ids;
    bpe.encode(word, Bpe::Special::allowed, scratch, ids);
    for (const TokenId id : ids) joined += bpe.vocabulary().token(id);
    EXPECT_EQ(joined, word);
  }
}

TEST(ByteLevel, EveryByteHasItsOwnCharacter) {
  std::string all, back;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  EXPECT_EQ(byte_level_text(" \n!~\xAD"), "\xC4\xA0\xC4\x8A!~\xC5\x83");
  ASSERT_TRUE(append_byte_level_bytes(back, byte_level_text(all)));
  EXPECT_EQ(back, all);
  EXPECT_FALSE(append_byte_level_bytes(back, "a b"));  // a plain space stands for no byte
  EXPECT_EQ(back, all);
}

}  // namespace
}  // namespace stepless
