// What the library has to say, it says to a function it was given. There is no global log.
#pragma once
#include <cstdint>
#include <functional>
#include <string_view>

namespace stepless {

enum class LogLevel : std::uint8_t { debug, info, warning, error };

constexpr std::string_view to_string(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
  }
  return "error";
}

/// Takes one line without its newline. May be called from the engine thread; an empty sink drops
/// all.
using LogSink = std::function<void(LogLevel, std::string_view)>;

inline void log_to(const LogSink& sink, LogLevel level, std::string_view line) {
  if (sink) sink(level, line);
}

}  // namespace stepless
