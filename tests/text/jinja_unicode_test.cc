#include "text/jinja_unicode.hpp"

#include <gtest/gtest.h>

#include <random>

namespace stepless::jinja {
namespace {

std::string encoded(const std::u32string& chars) {
  std::string out;
  for (const char32_t c : chars) append_char(out, c);
  return out;
}

TEST(JinjaUnicode, OffsetsAgreeWithWalkingCharByChar) {
  std::mt19937 random(3);
  const std::u32string alphabet = U"a éß漢🙂\n";
  for (int round = 0; round < 500; ++round) {
    std::u32string chars;
    for (auto i = random() % 60; i > 0; --i) chars += alphabet[random() % alphabet.size()];
    const std::string text = encoded(chars);
    ASSERT_TRUE(is_valid_utf8(text));
    ASSERT_EQ(count_chars(text), std::ssize(chars));
    std::size_t pos = 0;
    for (std::size_t i = 0; i < chars.size(); ++i) {
      ASSERT_EQ(offset_of_char(text, static_cast<std::int64_t>(i)), static_cast<std::int64_t>(pos));
      const std::size_t begin = pos;
      ASSERT_EQ(next_char(text, pos), chars[i]);
      std::size_t back = pos;
      ASSERT_EQ(last_char(text, back), chars[i]);
      ASSERT_EQ(back, begin);
      const auto rest = static_cast<std::int64_t>(chars.size() - i);
      ASSERT_EQ(offset_of_char(text, rest, static_cast<std::int64_t>(begin)), std::ssize(text));
    }
  }
}

TEST(JinjaUnicode, RefusesWhatIsNotUtf8) {
  for (const std::string bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE6\xBC", "a\xC3", "\xFF", "\xC3("})
    EXPECT_FALSE(is_valid_utf8(bad)) << testing::PrintToString(bad);
  EXPECT_TRUE(is_valid_utf8(encoded(U"\x7F\x80\x7FF\x800\xD7FF\xE000\xFFFF\x10000\x10FFFF")));
}

TEST(JinjaUnicode, CaseMappingsThatChangeTheLength) {
  EXPECT_EQ(to_upper("straße ŉ ﬁ"), "STRASSE ʼN FI");
  EXPECT_EQ(to_title("ﬁne ǆ it's"), "Fine ǅ It'S");
  EXPECT_EQ(to_lower("İ"), encoded(U"i\x307"));
  EXPECT_EQ(to_lower("ΑΣ ΑΣΑ Σ"), "ας ασα σ");
  EXPECT_EQ(to_capitalized("ǆ ABC"), "ǅ abc");
  EXPECT_EQ(to_folded("Straße"), "strasse");
  EXPECT_EQ(to_swapped_case("aBß"), "AbSS");
}

TEST(JinjaUnicode, ClassesAreThoseOfPythonsStr) {
  for (const char32_t c : {U'\t', U' ', U'\x1C', U'\x1F', U'\x85', U'\xA0', U'\x2003', U'\x3000'})
    EXPECT_TRUE(is_space(c));
  for (const char32_t c : {U'a', U'\x200B', U'\xFEFF', U'\x1B'}) EXPECT_FALSE(is_space(c));
  EXPECT_TRUE(is_line_break(0x2028));
  EXPECT_FALSE(is_line_break(0x1F));
  EXPECT_TRUE(is_digit(U'²'));
  EXPECT_FALSE(is_decimal(U'²'));
  EXPECT_TRUE(is_numeric(U'½'));
  EXPECT_FALSE(is_digit(U'½'));
  for (const char32_t c :
       {char32_t{0x7F}, char32_t{0xA0}, char32_t{0xAD}, char32_t{0x200B}, char32_t{0xE000}})
    EXPECT_FALSE(is_printable(c));
}

}  // namespace
}  // namespace stepless::jinja
