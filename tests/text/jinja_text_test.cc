// Provenance as ranges against provenance as one flag per byte.
#include "text/jinja_text.hpp"

#include <gtest/gtest.h>

#include <random>

#include "text/jinja_strings.hpp"
#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

/// A text and, for each byte, 'u' or 't'.
struct Flagged {
  std::string bytes, flags;
};

Flagged flagged(const Text& text) {
  Flagged out{text.bytes(), std::string(text.bytes().size(), 't')};
  std::int64_t last = -1;
  for (const Span& span : text.user_spans()) {
    EXPECT_GT(span.begin, last) << "spans are sorted and apart";
    EXPECT_LT(span.begin, span.end);
    EXPECT_LE(span.end, text.size());
    last = span.end;
    for (std::int64_t i = span.begin; i < span.end; ++i)
      out.flags[static_cast<std::size_t>(i)] = 'u';
  }
  return out;
}

Text random_text(std::mt19937& random, Meter& meter) {
  TextBuilder out(meter);
  for (int i = static_cast<int>(random() % 5); i > 0; --i)
    out.add(std::string(random() % 4, "ab ,"[random() % 4]), random() % 2 == 0);
  return out.take();
}

TEST(Text, SlicesAndSumsKeepEachBytesFlag) {
  std::mt19937 random(1);
  Meter meter{TemplateLimits{}};
  for (int round = 0; round < 3000; ++round) {
    const Text a = random_text(random, meter);
    const Text b = random_text(random, meter);
    const Flagged fa = flagged(a);
    const Flagged fb = flagged(b);
    const auto begin = static_cast<std::int64_t>(random() % static_cast<unsigned>(a.size() + 1));
    const auto end =
        begin + static_cast<std::int64_t>(random() % static_cast<unsigned>(a.size() - begin + 1));
    const Flagged slice = flagged(a.slice(begin, end));
    const auto at = static_cast<std::size_t>(begin);
    const auto count = static_cast<std::size_t>(end - begin);
    EXPECT_EQ(slice.bytes, fa.bytes.substr(at, count));
    EXPECT_EQ(slice.flags, fa.flags.substr(at, count));
    TextBuilder sum(meter);
    sum.add(b);
    sum.add_slice(a, begin, end);
    const Flagged total = flagged(sum.take());
    EXPECT_EQ(total.bytes, fb.bytes + slice.bytes);
    EXPECT_EQ(total.flags, fb.flags + slice.flags);
  }
}

TEST(Text, SplitPiecesAndSeparatorsMakeTheWhole) {
  std::mt19937 random(2);
  Meter meter{TemplateLimits{}};
  for (int round = 0; round < 2000; ++round) {
    const Text text = random_text(random, meter);
    for (const std::string separator : {",", "ab", " "}) {
      for (const Side side : {Side::left, Side::right}) {
        const auto pieces =
            split(text, separator, static_cast<std::int64_t>(random() % 4) - 1, side);
        TextBuilder whole(meter);
        std::int64_t done = 0;
        for (std::size_t i = 0; i < pieces.size(); ++i) {
          if (i > 0) {
            whole.add_slice(text, done, done + std::ssize(separator));
            done += std::ssize(separator);
          }
          whole.add(pieces[i]);
          done += pieces[i].size();
        }
        const Flagged expected = flagged(text);
        const Flagged got = flagged(whole.take());
        EXPECT_EQ(got.bytes, expected.bytes);
        EXPECT_EQ(got.flags, expected.flags);
      }
    }
  }
}

TEST(Text, AsciiCaseKeepsFlagsAndOtherTextIsTheUsersThroughout) {
  Meter meter{TemplateLimits{}};
  TextBuilder ascii(meter);
  ascii.add("ab");
  ascii.add("cd", true);
  EXPECT_EQ(flagged(map_case(ascii.take(), to_upper, meter)).flags, "ttuu");
  TextBuilder other(meter);
  other.add("aß");
  other.add("cd", true);
  EXPECT_EQ(flagged(map_case(other.take(), to_upper, meter)).flags, "uuuuu");
}

TEST(Text, TheMeterBoundsEveryText) {
  Meter meter{TemplateLimits{.output_bytes = 10}};
  TextBuilder out(meter);
  out.add("0123456789");
  EXPECT_THROW(out.add("x"), Failure);
  EXPECT_THROW(pad(Text("a"), 0, 20, Text(" "), meter), Failure);
  EXPECT_THROW(replace(Text("aaaa"), Text("a"), Text("0123"), -1, meter), Failure);
}

}  // namespace
}  // namespace stepless::jinja
