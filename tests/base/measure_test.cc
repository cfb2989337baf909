#include "base/measure.hpp"

#include <gtest/gtest.h>

#include "stepless/error.hpp"

namespace stepless {
namespace {

TEST(Measure, RunsEveryArmOncePerRoundInOrder) {
  std::string seen;
  const Arm arms[] = {{[&] { seen += 'a'; }}, {[&] { seen += 'b'; }, 2}};
  // No retries: what the machine does meanwhile must not show in the order.
  const auto times = measure_rounds(arms, {.rounds = 3, .warm_up = 1, .retries = 0});
  EXPECT_EQ(seen, "abbabbabbabb");
  ASSERT_EQ(times.size(), 2u);
  for (const ArmTimes& arm : times) {
    ASSERT_EQ(arm.us.size(), 3u);
    for (const double us : arm.us) EXPECT_GE(us, 0);
    EXPECT_LE(arm.disturbed, 3);
  }
}

TEST(Measure, StopsWhenAskedTo) {
  const Arm arm{[] {}};
  std::int64_t calls = 0;
  MeasureOptions options{.rounds = 100};
  options.progress = [&](std::int64_t done, std::int64_t total) {
    EXPECT_EQ(total, 101);
    calls = done;
    return done < 3;
  };
  try {
    measure_rounds({&arm, 1}, options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::cancelled);
    EXPECT_EQ(calls, 3);
  }
}

TEST(Summary, InterpolatesQuartiles) {
  const Summary five = summary_of({5, 1, 4, 2, 3});
  EXPECT_EQ(five.median, 3);
  EXPECT_EQ(five.min, 1);
  EXPECT_EQ(five.max, 5);
  EXPECT_EQ(five.q1, 2);
  EXPECT_EQ(five.q3, 4);
  EXPECT_DOUBLE_EQ(five.spread(), 2.0 / 3);
  EXPECT_DOUBLE_EQ(summary_of({1, 2}).median, 1.5);
  EXPECT_EQ(summary_of({7}).spread(), 0);
  EXPECT_EQ(summary_of({}).median, 0);
  // One bad neighbour in five shows in the maximum, not in the spread.
  EXPECT_EQ(summary_of({10, 10, 10, 10, 99}).spread(), 0);
}

TEST(Caches, AreListedOrGuessed) {
  std::int64_t most = 0;
  for (const auto& [level, bytes] : cache_sizes()) {
    EXPECT_TRUE(level.starts_with("L")) << level;
    EXPECT_GT(bytes, 1024) << level;
    most = std::max(most, bytes);
  }
  EXPECT_EQ(last_cache_bytes(), most > 0 ? most : 32 << 20);
}

}  // namespace
}  // namespace stepless
