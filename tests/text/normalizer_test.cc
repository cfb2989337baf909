// Normal forms beyond the goldens: long runs of marks, borders between fast and slow parts,
// idempotence.
#include "text/normalizer.hpp"

#include <gtest/gtest.h>

#include <random>

#include "text/unicode.hpp"
#include "text/unicode_form.hpp"
#include "text/utf8.hpp"

namespace stepless {
namespace {

std::string normalize(const char* type, std::string text) {
  MatchScratch scratch;
  MarkedText marked{.bytes = std::move(text), .marks = {}};
  Normalizer::from_json(Json{{"type", type}}, "normalizer").apply(marked, scratch);
  return marked.bytes;
}

std::string random_text(std::mt19937& random) {
  static constexpr char32_t kChars[] = {'a',    'e',    '>',    ' ',     0xE9,    0x301,
                                        0x323,  0x307,  0x338,  0x1100,  0x1161,  0x11A8,
                                        0xAC00, 0x4E00, 0x212B, 0xFB01,  0x958,   0x3099,
                                        0x304B, 0x1E9B, 0x344,  0x1F1E6, 0x10FFFF};
  std::string text;
  for (std::size_t n = random() % 14; n > 0; --n)
    append_utf8(text, kChars[random() % std::size(kChars)]);
  return text;
}

// The parts that the fast path leaves alone change nothing: the whole text through the tables gives
// the same.
TEST(Normalizer, FastPathEqualsTheTables) {
  std::mt19937 random(1);
  const std::pair<const char*, UnicodeForm> forms[] = {
      {"NFC", {.compatibility = false, .compose = true}},
      {"NFD", {.compatibility = false, .compose = false}},
      {"NFKC", {.compatibility = true, .compose = true}},
      {"NFKD", {.compatibility = true, .compose = false}}};
  for (int round = 0; round < 3000; ++round) {
    const std::string text = random_text(random);
    for (const auto& [type, form] : forms) {
      std::string whole;
      append_normal_form(whole, text, form);
      const std::string once = normalize(type, text);
      ASSERT_EQ(once, whole) << type << ' ' << text;
      ASSERT_EQ(normalize(type, once), once) << type << ' ' << text;
    }
    ASSERT_EQ(normalize("NFC", normalize("NFD", text)), normalize("NFC", text)) << text;
  }
}

TEST(Normalizer, ManyMarksAreOrderedInTime) {
  std::string text = "a";
  for (int i = 0; i < 200000; ++i)
    text += "\xCC\x81\xCC\xA3";  // above, below: every pair is out of order
  const std::string done = normalize("NFD", text);
  ASSERT_EQ(done.size(), text.size());
  EXPECT_EQ(done.substr(0, 5), "a\xCC\xA3\xCC\xA3");
  EXPECT_EQ(done.substr(done.size() - 4), "\xCC\x81\xCC\x81");
}

TEST(Normalizer, MarksFollowTheText) {
  MatchScratch scratch;
  const auto run = [&](const Json& json, std::string bytes, std::string marks) {
    MarkedText text{.bytes = std::move(bytes), .marks = std::move(marks)};
    Normalizer::from_json(json, "normalizer").apply(text, scratch);
    EXPECT_EQ(text.bytes.size(), text.marks.size());
    for (char& mark : text.marks) mark = mark != 0 ? 'u' : '-';
    return text.bytes + " " + text.marks;
  };
  const std::string user(1, '\1'), ours(1, '\0');
  EXPECT_EQ(run({{"type", "NFC"}}, "xe\xCC\x81y", ours + ours + user + user + ours),
            "x\xC3\xA9y -uu-");
  EXPECT_EQ(run({{"type", "NFC"}}, ">\xE2\x84\xAB", ours + user + user + user), ">\xC3\x85 -uu");
  EXPECT_EQ(run({{"type", "Lowercase"}}, "AB", ours + user), "ab -u");
  EXPECT_EQ(run({{"type", "Prepend"}, {"prepend", "__"}}, "ab", user + ours), "__ab uuu-");
  EXPECT_EQ(run({{"type", "Replace"}, {"pattern", {{"String", "ab"}}}, {"content", "xyz"}}, "abc",
                ours + user + ours),
            "xyzc uuu-");
  EXPECT_EQ(run({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}}, " ab ",
                user + ours + user + ours),
            "ab -u");
}

TEST(Unicode, WhiteSpaceIsTheProperty) {
  std::string found;
  int count = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) count += is_white_space(c);
  EXPECT_EQ(count, 25);
  EXPECT_FALSE(is_white_space(0x180E));  // was white space until Unicode 6.3; PCRE2's \s takes it
  EXPECT_FALSE(is_white_space(0x200B));
  EXPECT_TRUE(is_white_space(0x85));
}

}  // namespace
}  // namespace stepless
