// Lines from a person or a pipe. On a terminal with editing and history: the one door to libedit.
#pragma once
#include <memory>
#include <string>

namespace stepless::cli {

class LineReader {
 public:
  enum class Got { line, end, signal };  // end: Ctrl-D, or the pipe is empty

  /// `history_path`: "" keeps none; a file that cannot be read is a note, not an error. Only on a
  /// terminal.
  explicit LineReader(const std::string& history_path);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// A person is there: prompts are shown.
  bool interactive() const { return editor_ != nullptr; }
  /// One line without its newline. `signal`: a signal came (see terminal.hpp) and what was typed is
  /// gone.
  Got read(const std::string& prompt, std::string& line);
  /// A key was hit since the last read() began.
  bool was_touched() const;
  /// Puts a line into the history, and the history into its file (mode 0600).
  void remember(const std::string& line);

 private:
  struct Editor;
  Got read_pipe(std::string& line);

  std::unique_ptr<Editor> editor_;
  std::string buffer_;  // of a pipe: read and not yet given out
};

/// $XDG_STATE_HOME/stepless/chat_history, else ~/.local/state/...; "" without a home.
std::string chat_history_path();

}  // namespace stepless::cli
