// What flags are given: numbers within bounds, sizes in bytes, files to read.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <iosfwd>
#include <string>

namespace stepless::cli {

/// No count of tokens on a command line is larger: sums of them stay far from overflow.
inline constexpr std::int64_t kMostTokens = std::int64_t{1} << 31;
/// "--temp nan: not from 0 to 1000000": the check of a number that CLI11's own, which lets NaN
/// pass, would make in its words.
CLI::Validator number_from(std::string flag, double least, double most);
/// The same for whole numbers; CLI11 wraps and saturates those that its types cannot hold.
CLI::Validator whole_from(std::string flag, std::uint64_t least, std::uint64_t most);

/// The bytes of a file that a flag names, or of standard input. Throws Error (usage) naming the
/// flag: a folder, no such file, no right, a failed read.
std::string read_given_file(const std::string& path, const char* flag);
std::string read_given_stream(std::istream& in, const std::string& what);
/// "512M", "2Gi", "1000000": bytes. Throws Error (invalid_argument).
std::int64_t parse_bytes(const std::string& text, const char* flag);

}  // namespace stepless::cli
