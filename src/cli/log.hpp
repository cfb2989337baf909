// What a run did, line by line: time, level, words; never a prompt or an answer. Figures, notes and
// errors are on stderr anyway, so without --log-file they are not logged a second time.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

namespace stepless::cli {

enum class LogDepth : std::uint8_t { trace, debug, info, warn, error, off };

struct LogFlags {
  std::string level, file;
};
void add_log_flags(CLI::App& app, LogFlags& flags);

/// Opens what the command's flags ask for; before that, and for a command without them, nothing is
/// logged. Throws Error (usage): a file that cannot be written.
void start_log(const CLI::App& command);
/// To --log-file, else to stderr. Control characters become \xNN: a name cannot forge a line.
void log_line(LogDepth depth, const std::string& words);
/// Of what stderr says in its own words: to --log-file only.
void log_told(LogDepth depth, const std::string& words);
/// "note: <words>" on stderr, and a warning in the file.
void note(const std::string& words);

}  // namespace stepless::cli
