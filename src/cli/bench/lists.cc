#include "cli/bench/lists.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <sstream>

#include "cli/cli.hpp"

namespace stepless::cli {
namespace {

constexpr std::size_t kMostItems = 100000;

/// A whole number at the front of `text`, which loses it; from `least` on.
bool take_number(std::string_view& text, std::int64_t least, std::int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < least) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

struct Range {
  std::int64_t first = 0, last = 0, step = 1, factor = 1;
};

/// One item between commas; false: it is none.
bool read_range(std::string_view text, Range& range) {
  if (!take_number(text, 0, range.first)) return false;
  range.last = range.first;
  if (text.empty()) return true;
  if (text[0] != '-') return false;
  text.remove_prefix(1);
  if (!take_number(text, range.first, range.last)) return false;
  if (text.empty()) return true;
  const char how = text[0];
  text.remove_prefix(1);
  if (how == '+') return take_number(text, 1, range.step) && text.empty();
  // From 0 no product leads on.
  return how == '*' && range.first > 0 && take_number(text, 2, range.factor) && text.empty();
}

}  // namespace

std::vector<std::string> parts_of(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  if (!text.empty() && text.back() == ',') parts.emplace_back();
  return parts;
}

std::vector<std::int64_t> parse_list(const std::string& text, const char* flag) {
  std::vector<std::int64_t> all;
  const auto add = [&](std::int64_t value) {
    if (std::ranges::find(all, value) == all.end()) all.push_back(value);
    if (all.size() > kMostItems)
      usage_error(fmt::format("{} {}: more than {} numbers", flag, text, kMostItems));
  };
  for (const std::string& part : parts_of(text)) {
    Range range;
    if (!read_range(part, range))
      usage_error(fmt::format("{} {}: \"{}\" is no list; a,b or a-b or a-b+step or a-b*factor",
                              flag, text, part));
    for (std::int64_t value = range.first; value <= range.last;) {
      add(value);
      if (range.factor > 1 && value > std::numeric_limits<std::int64_t>::max() / range.factor)
        break;
      if (range.factor == 1 && value > std::numeric_limits<std::int64_t>::max() - range.step) break;
      value = range.factor > 1 ? value * range.factor : value + range.step;
    }
  }
  if (all.empty()) usage_error(fmt::format("{}: an empty list; numbers, e.g. 1-8,16", flag));
  return all;
}

std::vector<std::pair<std::int64_t, std::int64_t>> parse_shapes(const std::string& text,
                                                                const char* flag) {
  std::vector<std::pair<std::int64_t, std::int64_t>> shapes;
  for (const std::string& part : parts_of(text)) {
    std::string_view rest = part;
    std::int64_t n = 0, k = 0;
    const bool good = take_number(rest, 1, n) && rest.starts_with("x") &&
                      (rest.remove_prefix(1), take_number(rest, 1, k)) && rest.empty();
    if (!good)
      usage_error(fmt::format("{} {}: \"{}\" is no shape; n x k, e.g. 4096x4096,13824x5120", flag,
                              text, part));
    shapes.emplace_back(n, k);
  }
  if (shapes.empty()) usage_error(fmt::format("{}: no shape; e.g. 4096x4096", flag));
  return shapes;
}

}  // namespace stepless::cli
