// strftime_now: dates in the C locale. No clock is read here; the caller says what time it is.
#include <array>

#include "text/jinja_format.hpp"

namespace stepless::jinja {
namespace {

constexpr std::array<std::string_view, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                   "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> kMonths = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December"};

struct Time {
  std::int64_t year;
  int month, day;  // from 1
  int hour, minute, second;
  int weekday;  // from Sunday
  int yearday;  // from 0
  std::int64_t unix_seconds;
};

bool is_leap(std::int64_t year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

Time broken_down(std::int64_t seconds) {
  const std::int64_t rest = ((seconds % 86400) + 86400) % 86400;
  std::int64_t days = (seconds - rest) / 86400;
  Time t{};
  t.unix_seconds = seconds;
  t.hour = static_cast<int>(rest / 3600);
  t.minute = static_cast<int>(rest / 60 % 60);
  t.second = static_cast<int>(rest % 60);
  t.weekday = static_cast<int>(((days % 7) + 11) % 7);  // 1970-01-01 was a Thursday
  days += 719468;  // count from 0000-03-01, so that a leap day ends its year
  const std::int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const std::int64_t day_of_era = days - era * 146097;
  const std::int64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const std::int64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t month = (5 * day_of_year + 2) / 153;  // from March
  t.day = static_cast<int>(day_of_year - (153 * month + 2) / 5 + 1);
  t.month = static_cast<int>(month < 10 ? month + 3 : month - 9);
  t.year = year_of_era + era * 400 + (t.month <= 2 ? 1 : 0);
  static constexpr std::array<int, 12> kBefore = {0,   31,  59,  90,  120, 151,
                                                  181, 212, 243, 273, 304, 334};
  t.yearday = kBefore[static_cast<std::size_t>(t.month - 1)] + t.day - 1 +
              (t.month > 2 && is_leap(t.year) ? 1 : 0);
  return t;
}

/// ISO 8601: weeks start on Monday, and week 1 holds the year's first Thursday.
struct IsoWeek {
  std::int64_t year;
  int week;
};

IsoWeek iso_week(const Time& t) {
  const int weekday = (t.weekday + 6) % 7;  // from Monday
  const int week = (t.yearday - weekday + 10) / 7;
  const auto weeks_of = [](std::int64_t year) {
    const auto last_day = [](std::int64_t y) { return (y + y / 4 - y / 100 + y / 400) % 7; };
    return last_day(year) == 4 || last_day(year - 1) == 3 ? 53 : 52;
  };
  if (week < 1) return {t.year - 1, weeks_of(t.year - 1)};
  if (week > weeks_of(t.year)) return {t.year + 1, 1};
  return {t.year, week};
}

class TimeWriter {
 public:
  explicit TimeWriter(std::int64_t unix_seconds) : time_(broken_down(unix_seconds)) {}

  std::string write(std::string_view pattern) {
    std::string out;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      if (pattern[i] != '%' || i + 1 == pattern.size()) {
        out.push_back(pattern[i]);
        continue;
      }
      const std::size_t begin = i++;
      flag_ = '\0';
      if (std::string_view("-_0^").find(pattern[i]) != std::string_view::npos &&
          i + 1 < pattern.size())
        flag_ = pattern[i++];
      if (!directive(pattern[i], out)) out.append(pattern.substr(begin, i - begin + 1));
    }
    return out;
  }

 private:
  std::string number(std::int64_t value, int width, char pad = '0') const {
    if (flag_ == '-') width = 0;
    if (flag_ == '_') pad = ' ';
    if (flag_ == '0') pad = '0';
    std::string digits = std::to_string(value);
    const auto size = static_cast<int>(digits.size());
    return size < width ? std::string(static_cast<std::size_t>(width - size), pad) + digits
                        : digits;
  }

  std::string name(std::string_view word, std::size_t letters = std::string_view::npos) const {
    std::string out(word.substr(0, letters));
    if (flag_ == '^')
      for (char& c : out) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    return out;
  }

  std::string part(std::string_view pattern) const {
    return TimeWriter(time_.unix_seconds).write(pattern);
  }

  bool directive(char c, std::string& out) const {
    return date(c, out) || clock(c, out) || composite(c, out);
  }

  bool date(char c, std::string& out) const {
    const Time& t = time_;
    switch (c) {
      case 'Y':
        return out += number(t.year, 1), true;
      case 'C':
        return out += number(t.year / 100, 2), true;
      case 'y':
        return out += number(t.year % 100, 2), true;
      case 'm':
        return out += number(t.month, 2), true;
      case 'd':
        return out += number(t.day, 2), true;
      case 'e':
        return out += number(t.day, 2, ' '), true;
      case 'j':
        return out += number(t.yearday + 1, 3), true;
      case 'b':
      case 'h':
        return out += name(kMonths[static_cast<std::size_t>(t.month - 1)], 3), true;
      case 'B':
        return out += name(kMonths[static_cast<std::size_t>(t.month - 1)]), true;
      case 'a':
        return out += name(kDays[static_cast<std::size_t>(t.weekday)], 3), true;
      case 'A':
        return out += name(kDays[static_cast<std::size_t>(t.weekday)]), true;
      case 'w':
        return out += number(t.weekday, 1), true;
      case 'u':
        return out += number(t.weekday == 0 ? 7 : t.weekday, 1), true;
      case 'U':
        return out += number((t.yearday + 7 - t.weekday) / 7, 2), true;
      case 'W':
        return out += number((t.yearday + 7 - (t.weekday + 6) % 7) / 7, 2), true;
      case 'V':
        return out += number(iso_week(t).week, 2), true;
      case 'G':
        return out += number(iso_week(t).year, 1), true;
      case 'g':
        return out += number(iso_week(t).year % 100, 2), true;
      default:
        return false;
    }
  }

  bool clock(char c, std::string& out) const {
    const Time& t = time_;
    const int hour12 = t.hour % 12 == 0 ? 12 : t.hour % 12;
    switch (c) {
      case 'H':
        return out += number(t.hour, 2), true;
      case 'k':
        return out += number(t.hour, 2, ' '), true;
      case 'I':
        return out += number(hour12, 2), true;
      case 'l':
        return out += number(hour12, 2, ' '), true;
      case 'M':
        return out += number(t.minute, 2), true;
      case 'S':
        return out += number(t.second, 2), true;
      case 'f':
        return out += "000000", true;
      case 'p':
        return out += t.hour < 12 ? "AM" : "PM", true;
      case 'P':
        return out += t.hour < 12 ? "am" : "pm", true;
      case 's':
        return out += number(t.unix_seconds, 1), true;
      case 'z':  // a time without a zone
      case 'Z':
        return true;
      default:
        return false;
    }
  }

  bool composite(char c, std::string& out) const {
    switch (c) {
      case 'c':
        return out += part("%a %b %e %H:%M:%S %Y"), true;
      case 'D':
      case 'x':
        return out += part("%m/%d/%y"), true;
      case 'F':
        return out += part("%Y-%m-%d"), true;
      case 'T':
      case 'X':
        return out += part("%H:%M:%S"), true;
      case 'R':
        return out += part("%H:%M"), true;
      case 'r':
        return out += part("%I:%M:%S %p"), true;
      case 'n':
        return out += '\n', true;
      case 't':
        return out += '\t', true;
      case '%':
        return out += '%', true;
      default:
        return false;
    }
  }

  Time time_;
  char flag_ = '\0';
};

}  // namespace

std::string format_time(std::string_view pattern, std::int64_t unix_seconds) {
  constexpr std::int64_t kYear9999 = 253402300799;  // Python's last second; year 1 is its first
  if (unix_seconds < -62135596800 || unix_seconds > kYear9999)
    stop("the time {} s lies outside the years 1 to 9999", unix_seconds);
  return TimeWriter(unix_seconds).write(pattern);
}

}  // namespace stepless::jinja
