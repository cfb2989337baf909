#include "cli/line_reader.hpp"

#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <filesystem>
#include <iostream>

#include "base/error.hpp"
#include "cli/log.hpp"
#include "cli/private_file.hpp"
#include "cli/terminal.hpp"

namespace stepless::cli {
namespace {

constexpr int kMostLines = 1000;

std::atomic<bool> g_resized{false}, g_continued{false};  // noted by handlers, acted on by next_char

bool g_touched = false;  // next_char is a plain function, and there is one keyboard

extern "C" void on_window(int) { g_resized = true; }
extern "C" void on_continue(int) { g_continued = true; }

void watch(int number, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(number, &action, nullptr);
}

/// Waits for a byte; false when a signal asks to stop. Wakes now and then: a signal between the
/// look and the wait must not get lost.
bool wait_for_input() {
  for (;;) {
    if (pending_signal() != 0) return false;
    if (g_resized || g_continued) return true;
    pollfd in{STDIN_FILENO, POLLIN, 0};
    if (poll(&in, 1, 200) > 0) return true;
  }
}

/// What libedit calls for a character. Its own reader would start over after a signal, so that
/// Ctrl-C did nothing until the next key.
int next_char(EditLine* editor, wchar_t* out) {
  std::mbstate_t state{};
  while (wait_for_input()) {
    if (g_resized.exchange(false)) el_resize(editor);
    if (g_continued.exchange(false)) {  // the shell had the terminal: take it again
      el_set(editor, EL_PREP_TERM, 1);
      el_set(editor, EL_REFRESH);
    }
    pollfd in{STDIN_FILENO, POLLIN, 0};
    if (poll(&in, 1, 0) <= 0) continue;
    char byte = 0;
    const ssize_t got = ::read(STDIN_FILENO, &byte, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return 0;
    g_touched = true;
    const std::size_t used = std::mbrtowc(out, &byte, 1, &state);
    if (used == static_cast<std::size_t>(-2)) continue;  // the character has more bytes
    if (used != static_cast<std::size_t>(-1)) return 1;
    state = {};  // no UTF-8: dropped
  }
  return -1;
}

/// Characters are UTF-8 here, whatever the locale says.
void use_utf8() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

/// The history as libedit writes it. It sets the file's mode, so a stream in memory will not do.
std::string history_text(::History* history) {
  std::FILE* file = std::tmpfile();
  if (file == nullptr) return "";
  HistEvent event;
  ::history(history, &event, H_SAVE_FP, file);
  std::rewind(file);
  std::string text;
  char bytes[4096];
  for (std::size_t got; (got = std::fread(bytes, 1, sizeof bytes, file)) > 0;)
    text.append(bytes, got);
  std::fclose(file);
  return text;
}

}  // namespace

struct LineReader::Editor {
  explicit Editor(std::string path);
  ~Editor();
  void load();
  void save();

  std::string prompt, history_path;
  std::FILE* screen;
  EditLine* edit;
  ::History* history;
};

LineReader::Editor::Editor(std::string path)
    : history_path(std::move(path)), screen(stdout_is_terminal() ? stdout : stderr) {
  use_utf8();
  edit = el_init("stepless", stdin, screen, stderr);
  history = history_init();
  if (edit == nullptr || history == nullptr) throw std::bad_alloc();
  HistEvent event;
  ::history(history, &event, H_SETSIZE, kMostLines);
  ::history(history, &event, H_SETUNIQUE, 1);
  if (plain_terminal()) el_set(edit, EL_TERMINAL, "dumb");
  el_set(edit, EL_CLIENTDATA, this);
  el_set(
      edit, EL_PROMPT, +[](EditLine* e) {
        void* self = nullptr;
        el_get(e, EL_CLIENTDATA, &self);
        return static_cast<Editor*>(self)->prompt.data();
      });
  el_set(edit, EL_EDITOR, "emacs");
  el_set(edit, EL_SIGNAL, 0);
  el_set(edit, EL_HIST, ::history, history);
  el_set(edit, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  el_source(edit, nullptr);  // ~/.editrc, if there is one
  el_set(edit, EL_GETCFN, next_char);
  watch(SIGWINCH, on_window);
  watch(SIGCONT, on_continue);
  load();
}

LineReader::Editor::~Editor() {
  history_end(history);
  el_end(edit);
}

void LineReader::Editor::load() {
  std::error_code ignored;
  if (history_path.empty() || !std::filesystem::exists(history_path, ignored)) return;
  HistEvent event;
  if (::history(history, &event, H_LOAD, history_path.c_str()) < 0)
    note(history_path + ": no history of this program; starting anew");
}

void LineReader::Editor::save() {
  if (history_path.empty()) return;
  const std::string all = history_text(history);
  try {
    const std::filesystem::path folder = std::filesystem::path(history_path).parent_path();
    if (std::error_code failed; !std::filesystem::exists(folder, failed)) {
      std::filesystem::create_directories(folder);
      std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
    }
    write_private_file(history_path, all);
  } catch (const std::exception& error) {
    note(std::string("history: ") + error.what() + "; none is kept");
    history_path.clear();
  }
}

LineReader::LineReader(const std::string& history_path) {
  if (isatty(STDIN_FILENO) == 1 && (stdout_is_terminal() || stderr_is_terminal()))
    editor_ = std::make_unique<Editor>(history_path);
}

LineReader::~LineReader() = default;

LineReader::Got LineReader::read(const std::string& prompt, std::string& line) {
  if (editor_ == nullptr) return read_pipe(line);
  editor_->prompt = prompt;
  g_touched = false;
  hold_signals(true);
  int count = 0;
  const char* text = el_gets(editor_->edit, &count);
  hold_signals(false);
  if (pending_signal() != 0) {
    std::fputs("^C\n", editor_->screen);
    std::fflush(editor_->screen);
    return Got::signal;
  }
  if (text == nullptr || count <= 0) {
    std::fputs("\n", editor_->screen);
    std::fflush(editor_->screen);
    return Got::end;
  }
  line.assign(text, static_cast<std::size_t>(count));
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  return Got::line;
}

bool LineReader::was_touched() const { return editor_ != nullptr && g_touched; }

LineReader::Got LineReader::read_pipe(std::string& line) {
  for (;;) {
    if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
      line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      return Got::line;
    }
    if (!wait_for_input()) return Got::signal;
    char bytes[4096];
    const ssize_t got = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got > 0) {
      buffer_.append(bytes, static_cast<std::size_t>(got));
      continue;
    }
    if (buffer_.empty()) return Got::end;
    line = std::move(buffer_);  // the last line had no newline
    buffer_.clear();
    return Got::line;
  }
}

void LineReader::remember(const std::string& line) {
  if (editor_ == nullptr) return;
  HistEvent event;
  ::history(editor_->history, &event, H_ENTER, line.c_str());
  editor_->save();
}

std::string chat_history_path() {
  const char* set = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (set != nullptr && *set != '\0')
    folder = set;
  else if (home != nullptr && *home != '\0')
    folder = std::filesystem::path(home) / ".local" / "state";
  else
    return "";
  return (folder / "stepless" / "chat_history").string();
}

}  // namespace stepless::cli
