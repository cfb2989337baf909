#include "cli/values.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "cli/cli.hpp"

namespace stepless::cli {
namespace {

/// What both kinds of checks say, whole: usage_message() drops the flag that CLI11 puts before it.
std::string out_of_range(const std::string& flag, const std::string& value,
                         const std::string& range) {
  return fmt::format("{} {}: not {}", flag, value, range);
}

}  // namespace

CLI::Validator number_from(std::string flag, double least, double most) {
  return {[flag = std::move(flag), least, most](std::string& text) -> std::string {
            char* end = nullptr;
            const double value = std::strtod(text.c_str(), &end);
            // What is no number is left to the conversion, which says so.
            if (text.empty() || *end != '\0' || (value >= least && value <= most)) return "";
            return out_of_range(flag, text, fmt::format("from {:.15g} to {:.15g}", least, most));
          },
          ""};
}

CLI::Validator whole_from(std::string flag, std::uint64_t least, std::uint64_t most) {
  return {[flag = std::move(flag), least, most](std::string& text) -> std::string {
            // What is no whole number at all is left to the conversion, which says so.
            const std::string digits = text.substr(text.starts_with('-') ? 1 : 0);
            if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos)
              return "";
            std::uint64_t value = 0;
            const char* end = text.data() + text.size();
            const auto read = std::from_chars(text.data(), end, value);
            if (read.ec == std::errc{} && read.ptr == end && value >= least && value <= most)
              return "";
            return out_of_range(flag, text,
                                fmt::format("a whole number from {} to {}", least, most));
          },
          ""};
}

std::string read_given_stream(std::istream& in, const std::string& what) {
  std::string text;
  char bytes[1 << 16];
  while (in.read(bytes, sizeof bytes) || in.gcount() > 0)
    text.append(bytes, static_cast<std::size_t>(in.gcount()));
  if (in.bad()) usage_error(what + ": cannot be read");
  return text;
}

std::string read_given_file(const std::string& path, const char* flag) {
  const std::string what = fmt::format("{} {}", flag, path);
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    usage_error(what + ": is a folder; give a file");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) usage_error(fmt::format("{}: cannot be read: {}", what, std::strerror(errno)));
  return read_given_stream(file, what);
}

std::int64_t parse_bytes(const std::string& text, const char* flag) {
  std::size_t used = 0;
  double value = -1;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const std::string unit = text.substr(used);
  const std::pair<const char*, double> units[] = {
      {"", 1},        {"K", 1e3},        {"M", 1e6},          {"G", 1e9},
      {"Ki", 1024.0}, {"Mi", 1048576.0}, {"Gi", 1073741824.0}};
  for (const auto& [name, factor] : units)
    if (used > 0 && unit == name && std::isfinite(value) && value >= 0 && value * factor < 9e18)
      return static_cast<std::int64_t>(value * factor);
  usage_error(fmt::format("{}: {} is no size; a number with K, M, G, Ki, Mi or Gi", flag, text));
}

}  // namespace stepless::cli
