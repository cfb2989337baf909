// UTF-8 validity and repair, against the table of the Unicode standard (section 3.9, D92b) and by
// properties.
#include "text/utf8.hpp"

#include <gtest/gtest.h>

#include <random>

namespace stepless {
namespace {

const std::string kBad(kReplacementUtf8);

TEST(Utf8, RepairsEachMaximalSubpart) {
  const std::pair<std::string, std::string> cases[] = {
      {"", ""},
      {"plain", "plain"},
      {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
      {"a\xF1\x80\x80\xE1\x80\xC2"
       "b\x80"
       "c\x80\xBF"
       "d",
       "a" + kBad + kBad + kBad + "b" + kBad + "c" + kBad + kBad + "d"},
      {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82"
       "A",
       kBad + kBad + kBad + kBad + kBad + kBad + kBad + kBad + "A"},
      {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF"
       "A",
       kBad + kBad + kBad + kBad + kBad + kBad + kBad + kBad + "A"},
      {"\xF4\x91\x92\x93\xFF"
       "A\x80\xBF"
       "B",
       kBad + kBad + kBad + kBad + kBad + "A" + kBad + kBad + "B"},
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
       "A",
       kBad + kBad + kBad + kBad + "A"},
      {"\xF4\x8F\xBF\xBF\xF0\x90\x80", "\xF4\x8F\xBF\xBF" + kBad},
  };
  for (const auto& [broken, whole] : cases) {
    EXPECT_EQ(repair_utf8(broken), whole);
    EXPECT_EQ(is_utf8(broken), broken == whole);
  }
}

TEST(Utf8, EveryCharacterComesBack) {
  std::string all;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    const std::size_t at = all.size();
    append_utf8(all, c);
    const Utf8Char read = read_utf8(all, at);
    ASSERT_EQ(read.kind, Utf8Kind::valid);
    ASSERT_EQ(read.value, c);
    ASSERT_EQ(at + read.bytes, all.size());
    ASSERT_EQ(last_char(all, all.size()), at);
  }
  EXPECT_TRUE(is_utf8(all));
  EXPECT_FALSE(is_utf8(all.substr(0, all.size() - 1)));
}

TEST(Utf8, AStreamGivesTheSameWhereverItParts) {
  std::mt19937 random(7);
  const std::string bytes = "a\x80\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\xE0\xED\xF4\xFF";
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) text.push_back(bytes[random() % bytes.size()]);
    Utf8Stream stream;
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t part = random() % 4;
      stream.push(std::string_view(text).substr(at, part), out);
      at += part;
      ASSERT_TRUE(is_utf8(out));
    }
    stream.finish(out);
    ASSERT_EQ(out, repair_utf8(text));
  }
}

}  // namespace
}  // namespace stepless
