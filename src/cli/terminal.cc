#include "cli/terminal.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/memory.hpp"

namespace stepless::cli {
namespace {

std::atomic<int> g_signal{0};  // a signal handler has nowhere else to write
std::atomic<bool> g_held{false};

extern "C" void on_signal(int number) {
  if (g_signal.exchange(number) != 0 && !g_held) _exit(128 + number);
}

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

/// --color as the config file has it.
std::string& configured_color() {
  static std::string value;
  return value;
}

int columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* set = std::getenv("COLUMNS");
  const int value = set == nullptr ? 0 : std::atoi(set);
  return value > 0 ? value : 80;
}

}  // namespace

bool plain_terminal() {
  const char* term = std::getenv("TERM");
  return is_set("NO_COLOR") || (term != nullptr && std::strcmp(term, "dumb") == 0);
}

bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }
bool stdout_is_terminal() { return isatty(STDOUT_FILENO) == 1; }

void set_color(const std::string& value) { configured_color() = value; }

bool use_color(const std::vector<std::string>& arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const bool apart = arguments[i] == "--color" && i + 1 < arguments.size();
    const std::string value = apart ? arguments[i + 1] : arguments[i];
    if (value == "always" && apart) return true;
    if (value == "never" && apart) return false;
    if (value == "--color=always") return true;
    if (value == "--color=never") return false;
  }
  const char* set = std::getenv("STEPLESS_COLOR");
  const std::string setting = set != nullptr && *set != '\0' ? set : configured_color();
  if (setting == "always") return true;
  if (setting == "never") return false;
  if (is_set("NO_COLOR")) return false;
  if (is_set("CLICOLOR_FORCE")) return true;
  return stderr_is_terminal() && !plain_terminal();
}

std::string escape_controls(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  // C1 controls, U+0080 to U+009F, are two bytes in UTF-8: some terminals obey them.
  for (std::size_t at = 0; at + 1 < out.size(); ++at)
    if (out[at] == '\xc2' && static_cast<unsigned char>(out[at + 1]) >= 0x80 &&
        static_cast<unsigned char>(out[at + 1]) < 0xa0)
      out.replace(at, 2, fmt::format("\\x{:02x}", static_cast<unsigned char>(out[at + 1])));
  return out;
}

std::string printable(const std::string& text) {
  return stdout_is_terminal() ? escape_controls(text) : text;
}

Progress::Progress(std::string label, std::string unit, const OutputFlags& flags)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      start_(std::chrono::steady_clock::now()),
      last_(start_) {
  const bool wanted = !flags.no_progress && !flags.quiet;
  bar_ = wanted && stderr_is_terminal();
  lines_ = wanted && !bar_ && flags.progress;
  ascii_ = plain_terminal() || flags.color == "never";
}

Progress::~Progress() { finish(); }

void Progress::update(std::int64_t done, std::int64_t total) {
  log_line(LogDepth::trace, fmt::format("{} {}/{} {}", label_, done, total, unit_));
  if ((!bar_ && !lines_) || total <= 0) return;
  const auto now = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  if (lines_) {
    const int tenth = static_cast<int>(done * 10 / total);
    if (tenth == last_tenth_) return;
    last_tenth_ = tenth;
    std::fprintf(stderr, "%s %d %% (%lld/%lld %s)\n", label_.c_str(), tenth * 10,
                 static_cast<long long>(done), static_cast<long long>(total), unit_.c_str());
    return;
  }
  if (seconds < 0.5 || (now - last_ < std::chrono::milliseconds(100) && done < total)) return;
  last_ = now;
  draw(done, total, seconds);
}

void Progress::draw(std::int64_t done, std::int64_t total, double seconds) {
  const double share = static_cast<double>(done) / static_cast<double>(total);
  const double rate = static_cast<double>(done) / std::max(seconds, 1e-9);
  const double eta = rate > 0 ? static_cast<double>(total - done) / rate : 0;
  const std::string tail = fmt::format(" {:3.0f} %  {}/{} {}  {:.0f} {}/s  ETA {:.1f} s",
                                       share * 100, done, total, unit_, rate, unit_, eta);
  const int room = std::clamp(columns() - static_cast<int>(label_.size() + tail.size()) - 2, 4, 40);
  std::string bar;
  for (int i = 0; i < room; ++i) {
    const bool full = share * room >= i + 1;
    bar += full ? (ascii_ ? "#" : "\u2588") : (ascii_ ? "." : " ");
  }
  std::fprintf(stderr, "\r%s %s%s%s", label_.c_str(), bar.c_str(), tail.c_str(),
               ascii_ ? "" : "\033[K");
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::finish() {
  if (drawn_) std::fputs(ascii_ ? "\n" : "\r\033[K", stderr);
  drawn_ = false;
}

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an error of write(), as a full disk
}

int pending_signal() { return g_signal.load(); }
void clear_signal() { g_signal = 0; }
void hold_signals(bool held) { g_held = held; }

std::string peak_memory_text() {
  return fmt::format("{:.3f} GB", static_cast<double>(peak_resident_bytes()) / 1e9);
}

}  // namespace stepless::cli
