#include "cli/log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <iostream>

#include "cli/cli.hpp"
#include "cli/terminal.hpp"

namespace stepless::cli {
namespace {

constexpr const char* kNames[] = {"trace", "debug", "info", "warn", "error", "off"};

struct Log {
  LogDepth from = LogDepth::off;
  int file = -1;
};
Log g_log;  // the program has one, set before its command runs

const char* name_of(LogDepth depth) { return kNames[static_cast<std::size_t>(depth)]; }

LogDepth depth_of(const std::string& name) {
  for (std::uint8_t i = 0; i < std::size(kNames); ++i)
    if (name == kNames[i]) return static_cast<LogDepth>(i);
  return LogDepth::warn;
}

/// 2026-11-20T10:15:02.123Z
std::string time_text() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto since = now.time_since_epoch();
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(since).count() % 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  return fmt::format("{}.{:03}Z", text, millis);
}

/// One write a line: lines of several programs in one file stay whole.
void write_line(int to, LogDepth depth, const std::string& words) {
  std::string one = escape_controls(words);
  for (const auto& [mark, shown] : {std::pair("\n", "\\x0a"), std::pair("\t", "\\x09")})
    for (auto at = one.find(mark); at != std::string::npos; at = one.find(mark))
      one.replace(at, 1, shown);
  const std::string line = fmt::format("{} {} {}\n", time_text(), name_of(depth), one);
  if (::write(to, line.data(), line.size()) == static_cast<ssize_t>(line.size())) return;
  if (to != g_log.file) return;
  std::cerr << "note: --log-file: " << std::strerror(errno) << "; nothing more is logged\n";
  ::close(g_log.file);
  g_log = {};
}

std::string value_of(const CLI::App& command, const char* flag) {
  const CLI::Option* option = command.get_option_no_throw(flag);
  return option == nullptr || option->count() == 0 ? "" : option->as<std::string>();
}

}  // namespace

void add_log_flags(CLI::App& app, LogFlags& flags) {
  constexpr const char* kGroup = "Output";
  app.add_option("--log-level", flags.level,
                 "trace, debug, info, warn, error or off; default: warn, info with --log-file")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->group(kGroup);
  app.add_option("--log-file", flags.file, "append the log to this file, instead of stderr")
      ->type_name("FILE")
      ->group(kGroup);
}

void start_log(const CLI::App& command) {
  if (command.get_option_no_throw("--log-level") == nullptr) return;
  const std::string level = value_of(command, "--log-level"),
                    path = value_of(command, "--log-file");
  if (!path.empty()) {
    g_log.file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (g_log.file < 0)
      throw ExitError(
          Exit::usage, ErrorCode::invalid_argument,
          fmt::format("--log-file {}: cannot be written: {}", path, std::strerror(errno)));
  }
  g_log.from = depth_of(!level.empty() ? level : path.empty() ? "warn" : "info");
}

void log_line(LogDepth depth, const std::string& words) {
  if (depth >= g_log.from) write_line(g_log.file >= 0 ? g_log.file : STDERR_FILENO, depth, words);
}

void log_told(LogDepth depth, const std::string& words) {
  if (g_log.file >= 0) log_line(depth, words);
}

void note(const std::string& words) {
  std::cerr << "note: " << words << "\n";
  log_told(LogDepth::warn, words);
}

}  // namespace stepless::cli
