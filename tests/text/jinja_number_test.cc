#include "text/jinja_number.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace stepless::jinja {
namespace {

TEST(JinjaNumber, RealsPrintAsPythonReprDoes) {
  const std::vector<std::pair<double, std::string>> known = {
      {0.0, "0.0"},
      {-0.0, "-0.0"},
      {1.0, "1.0"},
      {0.1, "0.1"},
      {1e15, "1000000000000000.0"},
      {1e16, "1e+16"},
      {123456789012345680.0, "1.2345678901234568e+17"},
      {0.0001, "0.0001"},
      {0.00001, "1e-05"},
      {1.5e300, "1.5e+300"},
      {5e-324, "5e-324"},
      {2.0 / 3, "0.6666666666666666"},
      {100.0, "100.0"}};
  for (const auto& [value, text] : known) EXPECT_EQ(format_real(value), text);
  EXPECT_EQ(format_real(std::numeric_limits<double>::quiet_NaN()), "nan");
  EXPECT_EQ(format_real(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(JinjaNumber, RealsReadBack) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 5000; ++i) {
    const std::uint64_t bits = random();
    double value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    if (!std::isfinite(value)) continue;
    ASSERT_EQ(parse_real(format_real(value)), value);
  }
}

TEST(JinjaNumber, IntegersHave128Bits) {
  const Int most = static_cast<Int>(~static_cast<unsigned __int128>(0) >> 1);
  EXPECT_EQ(format_int(most), "170141183460469231731687303715884105727");
  EXPECT_EQ(format_int(-most - 1), "-170141183460469231731687303715884105728");
  EXPECT_EQ(parse_int("170141183460469231731687303715884105727"), most);
  EXPECT_THROW(parse_int("170141183460469231731687303715884105728"), Failure);
  const Value big = Value::integer(most);
  EXPECT_THROW(compute(Op::add, big, Value::integer(1)), Failure);
  EXPECT_THROW(compute(Op::multiply, big, Value::integer(2)), Failure);
  EXPECT_THROW(compute(Op::subtract, Value::integer(-most), Value::integer(2)), Failure);
  EXPECT_THROW(compute(Op::floor_divide, Value::integer(-most - 1), Value::integer(-1)), Failure);
  EXPECT_THROW(compute(Op::power, Value::integer(2), Value::integer(127)), Failure);
  EXPECT_EQ(format_int(compute(Op::power, Value::integer(2), Value::integer(126)).integer()),
            "85070591730234615865843651857942052864");
}

TEST(JinjaNumber, DivisionRoundsDownAndTheRestHasTheDivisorsSign) {
  for (Int a = -20; a <= 20; ++a)
    for (Int b = -7; b <= 7; ++b) {
      if (b == 0) continue;
      const Int quotient =
          compute(Op::floor_divide, Value::integer(a), Value::integer(b)).integer();
      const Int rest = compute(Op::modulo, Value::integer(a), Value::integer(b)).integer();
      EXPECT_EQ(
          static_cast<std::int64_t>(quotient),
          static_cast<std::int64_t>(std::floor(static_cast<double>(a) / static_cast<double>(b))));
      EXPECT_EQ(quotient * b + rest, a);
      EXPECT_EQ(
          compute(Op::floor_divide, Value::real(static_cast<double>(a)), Value::integer(b)).real(),
          static_cast<double>(quotient));
    }
  EXPECT_THROW(compute(Op::divide, Value::integer(1), Value::integer(0)), Failure);
  EXPECT_THROW(compute(Op::modulo, Value::real(1), Value::real(0)), Failure);
}

TEST(JinjaNumber, ReadsPythonsSpellings) {
  EXPECT_EQ(parse_int(" +1_000 "), Int{1000});
  EXPECT_EQ(parse_int("0x1F", 16), Int{31});
  EXPECT_EQ(parse_int("-0b11", 0), Int{-3});
  for (const std::string bad : {"", " ", "1__0", "_1", "1_", "0x1F", "1.0", "--1", "z"})
    EXPECT_EQ(parse_int(bad), std::nullopt) << bad;
  EXPECT_EQ(parse_real(" 1_0.5e1 "), 105.0);
  EXPECT_EQ(parse_real("-Infinity"), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(parse_real("1e999"), std::numeric_limits<double>::infinity());
  for (const std::string bad : {"", "+", "0x10", "1e", "nan(1)", "- 1", "1,5"})
    EXPECT_EQ(parse_real(bad), std::nullopt) << bad;
}

TEST(JinjaNumber, RoundsHalfToEvenOnTheBinaryValue) {
  EXPECT_EQ(round_to(2.5, 0), 2.0);
  EXPECT_EQ(round_to(3.5, 0), 4.0);
  EXPECT_EQ(round_to(2.675, 2), 2.67);
  EXPECT_EQ(round_to(1250.0, -2), 1200.0);
  EXPECT_EQ(round_to(1e308, 300), 1e308);
}

}  // namespace
}  // namespace stepless::jinja
