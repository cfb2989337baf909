#include "base/checked.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "tests/support/throws.hpp"

namespace stepless {
namespace {

using test::expect_error;
using ::testing::HasSubstr;
constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

TEST(Checked, MultipliesUpToTheLimit) {
  EXPECT_EQ(checked_mul(0, kMax, "x"), 0);
  EXPECT_EQ(checked_mul(kMax, 1, "x"), kMax);
  EXPECT_EQ(checked_mul(3037000499, 3037000499, "x"), 3037000499 * 3037000499);
  EXPECT_EQ(checked_mul(std::int64_t{1} << 31, (std::int64_t{1} << 32) - 1, "x"),
            kMax - (std::int64_t{1} << 31) + 1);
}

TEST(Checked, RefusesWhatDoesNotFit) {
  expect_error(ErrorCode::exhausted, "tensor a: 3037000500 x 3037000500 does not fit",
               [] { checked_mul(3037000500, 3037000500, "tensor a"); });
  expect_error(ErrorCode::exhausted, "does not fit", [] { checked_mul(kMax, 2, "x"); });
  expect_error(ErrorCode::invalid_argument, "x: -1 x 0", [] { checked_mul(-1, 0, "x"); });
  expect_error(ErrorCode::invalid_argument, "x: 2 x -3", [] { checked_mul(2, -3, "x"); });
}

TEST(Checked, Adds) {
  EXPECT_EQ(checked_add(kMax - 1, 1, "x"), kMax);
  expect_error(ErrorCode::exhausted, "kv: 9223372036854775807 + 1",
               [] { checked_add(kMax, 1, "kv"); });
  expect_error(ErrorCode::invalid_argument, "-1", [] { checked_add(-1, 1, "x"); });
}

TEST(Checked, RoundsWithoutOverflow) {
  EXPECT_EQ(divide_up(0, 8), 0);
  EXPECT_EQ(divide_up(8, 8), 1);
  EXPECT_EQ(divide_up(9, 8), 2);
  EXPECT_EQ(divide_up(kMax, 2), kMax / 2 + 1);
  EXPECT_EQ(round_up(63, 64), 64);
  EXPECT_EQ(round_up(64, 64), 64);
}

}  // namespace
}  // namespace stepless
