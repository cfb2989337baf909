// Where work is cut: everything once, nothing between, however many parts and calls there are.
#include "ops/cpu/parts.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace stepless {
namespace {

TEST(Cutting, SmallWorkStaysWhole) {
  EXPECT_EQ(Cutting{8}.parts(0, 100), 1);
  EXPECT_EQ(Cutting{8}.parts(20'000, 100), 1);
  EXPECT_EQ(Cutting{8}.parts(100'000, 100), 6);
  EXPECT_EQ(Cutting{8}.parts(100'000'000, 100), 32);
  EXPECT_EQ(Cutting{8}.parts(100'000'000, 3), 3);
  EXPECT_EQ(Cutting{8}.parts(100'000'000, 0), 1);
  EXPECT_EQ(Cutting{1}.parts(100'000'000, 100), 1);
}

TEST(PiecesIn, CoversEverySpanOnce) {
  for (const std::vector<std::int64_t>& pieces :
       {std::vector<std::int64_t>{1}, {64}, {8, 2, 2}, {5, 0, 3}, {1, 1, 1, 1, 1}})
    for (const std::int64_t work : {std::int64_t{0}, std::int64_t{1}, std::int64_t{1} << 40})
      for (const std::int64_t parts : {1, 2, 3, 7, 64}) {
        std::vector<Span> spans;
        std::int64_t total = 0;
        for (const std::int64_t each : pieces) {
          spans.push_back({total, each * work, each});
          total += each * work;
        }
        for (const Span& span : spans) {
          std::int64_t at = 0;
          for (std::int64_t index = 0; index < parts; ++index) {
            const kernels::Slice slice = pieces_in(span, total, index, parts);
            ASSERT_EQ(slice.begin, at);
            ASSERT_LE(slice.begin, slice.end);
            at = slice.end;
          }
          ASSERT_EQ(at, span.pieces);
        }
      }
}

TEST(PiecesIn, PartsOfOneSpanAreEven) {
  const Span span = {0, 1000, 10};
  for (const std::int64_t parts : {1, 2, 3, 10})
    for (std::int64_t index = 0; index < parts; ++index) {
      const kernels::Slice slice = pieces_in(span, 1000, index, parts);
      EXPECT_GE(slice.end - slice.begin, 10 / parts);
      EXPECT_LE(slice.end - slice.begin, 10 / parts + 1);
    }
}

}  // namespace
}  // namespace stepless
