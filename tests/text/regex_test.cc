// The dialect's corners that no tokenizer of the goldens visits. What Hugging Face answers is in
// golden/tokenizers/pipelines.json.
#include "text/regex.hpp"

#include <gtest/gtest.h>

namespace stepless {
namespace {

std::string matches(const char* regex, std::string_view text) {
  MatchScratch scratch;
  std::string out;
  Pattern::regex(regex, "regex").for_each(text, scratch, [&](TextRange match) {
    out.append("[").append(text.substr(match.begin, match.end - match.begin)).append("]");
  });
  return out;
}

TEST(Regex, SpaceIsWhiteSpace) {
  EXPECT_EQ(matches("\\s", "\xE1\xA0\x8E"), "");  // U+180E
  EXPECT_EQ(matches("\\s+", "\xC2\x85\xE3\x80\x80 \t\v"), "[\xC2\x85\xE3\x80\x80 \t\v]");
  EXPECT_EQ(matches("\\S", "\xE2\x80\x8B"), "[\xE2\x80\x8B]");  // U+200B
}

TEST(Regex, RubyReadings) {
  EXPECT_EQ(matches("\\h+", "ab 9f zz"), "[ab][9f]");
  EXPECT_EQ(matches("a{1,2}+", "aaaaa"), "[aaaaa]");  // repeated, not possessive
  EXPECT_EQ(matches("a{2}?", "aaa"), "[aa][]");       // optional, not lazy
  EXPECT_EQ(matches("ba{,2}", "baaab"), "[baa][b]");
  EXPECT_EQ(matches("a{x}", "a{x}"), "[a{x}]");
  EXPECT_EQ(matches("(?:^|b)a$", "a\nba\n"), "[a][ba]");   // lines
  EXPECT_EQ(matches("x(?i)a|b", "xA xB XA"), "[xA][xB]");  // the option holds the alternatives
  EXPECT_EQ(matches("(?i:K)", "k\xE2\x84\xAA"), "[k][\xE2\x84\xAA]");
  EXPECT_EQ(matches("a++b|a+", "aab aa"), "[aab][aa]");
  EXPECT_EQ(matches("\\Qa", "Qa"), "[Qa]");
  EXPECT_EQ(matches("[]a]+", "a]b"), "[a]]");
  EXPECT_EQ(matches("[a\\-c-]+", "a-cb"), "[a-c]");
  EXPECT_EQ(matches("[a-c&&[^b]&&\\w]", "abcd"), "[a][c]");
  EXPECT_EQ(matches("[^a[bc]]", "abcd"), "[d]");
}

TEST(Regex, LiteralsAndEmptyMatches) {
  MatchScratch scratch;
  const Pattern dots = Pattern::from_json(Json{{"String", ".."}}, "pattern");
  int count = 0;
  dots.for_each("a.....b", scratch, [&](TextRange) { ++count; });
  EXPECT_EQ(count, 2);
  EXPECT_EQ(matches("x*", "axb"), "[][x][]");  // no empty match right behind a match
}

}  // namespace
}  // namespace stepless
