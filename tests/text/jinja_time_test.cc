// Dates against the standard library's calendar.
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "text/jinja_format.hpp"

namespace stepless::jinja {
namespace {

TEST(JinjaTime, AgreesWithTheStandardCalendar) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 3000; ++i) {
    const auto seconds =
        static_cast<std::int64_t>(random() % 315'537'897'600ULL) - 62'135'596'800LL;
    const std::chrono::sys_seconds time{std::chrono::seconds(seconds)};
    const auto days = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date(days);
    const std::chrono::hh_mm_ss clock(time - days);
    const auto new_year = std::chrono::sys_days(date.year() / 1 / 1);
    const std::string expected =
        fmt::format("{}-{:02}-{:02} {:02}:{:02}:{:02} {} {:03}", static_cast<int>(date.year()),
                    static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                    clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                    std::chrono::weekday(days).c_encoding(), (days - new_year).count() + 1);
    ASSERT_EQ(format_time("%Y-%m-%d %H:%M:%S %w %j", seconds), expected);
  }
}

TEST(JinjaTime, IsoWeeksAtYearBorders) {
  const auto at = [](int year, unsigned month, unsigned day) {
    const std::chrono::sys_days days(std::chrono::year(year) / std::chrono::month(month) /
                                     std::chrono::day(day));
    return format_time(
        "%G-%V-%u %U %W",
        std::chrono::duration_cast<std::chrono::seconds>(days.time_since_epoch()).count());
  };
  // Python's strftime gives these.
  EXPECT_EQ(at(2021, 1, 3), "2020-53-7 01 00");
  EXPECT_EQ(at(2020, 12, 31), "2020-53-4 52 52");
  EXPECT_EQ(at(2018, 12, 31), "2019-01-1 52 53");
  EXPECT_EQ(at(2016, 1, 1), "2015-53-5 00 00");
  EXPECT_EQ(at(2024, 2, 29), "2024-09-4 08 09");
}

TEST(JinjaTime, FlagsUnknownLettersAndLimits) {
  EXPECT_EQ(format_time("%-d %_d %e %-H %^b %q %", 1795165507 - 13 * 86400), "7  7  7 9 NOV %q %");
  EXPECT_THROW(format_time("%Y", std::int64_t{1} << 60), Failure);
  EXPECT_THROW(format_time("%Y", -(std::int64_t{1} << 60)), Failure);
}

}  // namespace
}  // namespace stepless::jinja
