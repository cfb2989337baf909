// The terminal: colours, progress bars, control characters, signals.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "cli/flags.hpp"

namespace stepless::cli {

bool stderr_is_terminal();
bool stdout_is_terminal();
/// No escape sequences wanted: NO_COLOR, or TERM says that the terminal knows none.
bool plain_terminal();

/// --color as the config file has it: auto, always or never.
void set_color(const std::string& value);
/// Whether stderr may be coloured: --color in the arguments, else STEPLESS_COLOR, the config file,
/// NO_COLOR, CLICOLOR_FORCE, TERM and the terminal.
bool use_color(const std::vector<std::string>& arguments);

/// Control characters of model text become \xNN on a terminal, so that no text can command it.
/// Newline and tab stay.
std::string escape_controls(const std::string& text);
/// Text for stdout: escaped for a terminal, as it is in a pipe.
std::string printable(const std::string& text);

/// A bar on a terminal, a line per 10 % with --progress in a pipe, else nothing. Appears after half
/// a second.
class Progress {
 public:
  Progress(std::string label, std::string unit, const OutputFlags& flags);
  ~Progress();
  void update(std::int64_t done, std::int64_t total);
  void finish();

 private:
  void draw(std::int64_t done, std::int64_t total, double seconds);

  std::string label_, unit_;
  bool bar_ = false, lines_ = false, ascii_ = false, drawn_ = false;
  int last_tenth_ = 0;
  std::chrono::steady_clock::time_point start_, last_;
};

/// Counts Ctrl-C and SIGTERM. The first asks, the second ends the process at once with 130 or 143.
void install_signal_handlers();
/// 0, or the signal that asked to stop.
int pending_signal();
/// The signal is answered: the next one is a first one again.
void clear_signal();
/// While held, no signal ends the process: a prompt must put the terminal back first.
void hold_signals(bool held);

/// Peak resident memory as "2.134 GB".
std::string peak_memory_text();

}  // namespace stepless::cli
