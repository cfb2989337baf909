// Regular expressions and literal strings of tokenizer files, run over valid UTF-8. PCRE2 (JIT when
// the machine allows it) stays behind this door; its limits come back as Errors.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "base/json.hpp"

namespace stepless {

struct TextRange {
  std::size_t begin, end;
};

/// Per call memory of matching: one per thread of work, never shared.
class MatchScratch {
 public:
  MatchScratch();
  ~MatchScratch();
  MatchScratch(const MatchScratch&) = delete;
  MatchScratch& operator=(const MatchScratch&) = delete;

 private:
  friend class Pattern;
  struct State;
  std::unique_ptr<State> state_;
};

/// Immutable, cheap to copy, safe to use from many threads.
class Pattern {
 public:
  /// {"Regex": "…"} or {"String": "…"}, or a plain string (taken literally); `what` names the field
  /// in errors. Throws Error: corrupt, unsupported.
  static Pattern from_json(const Json& json, std::string_view what);
  static Pattern regex(std::string_view onig, std::string_view what);
  static Pattern literal(std::string_view text, std::string_view what);

  bool is_literal() const { return code_ == nullptr; }
  const std::string& text() const { return text_; }

  /// Every match in `subject`, in the order and with the treatment of empty matches of Hugging
  /// Face's find_iter. Throws Error: invalid_argument when the pattern's step limit is spent on
  /// this text.
  template <class Visit>
  void for_each(std::string_view subject, MatchScratch& scratch, Visit&& visit) const {
    std::size_t from = 0;
    std::size_t last_end = std::string_view::npos;
    TextRange match{};
    while (from <= subject.size() && find(subject, from, scratch, match)) {
      if (match.begin == match.end && match.end == last_end) {
        from = next_char(subject, from);
        continue;
      }
      from = last_end = match.end;
      visit(match);
    }
  }

 private:
  struct Code;
  bool find(std::string_view subject, std::size_t from, MatchScratch& scratch,
            TextRange& match) const;
  static std::size_t next_char(std::string_view subject, std::size_t at);

  std::string text_;  // as the file has it
  std::shared_ptr<const Code> code_;
};

}  // namespace stepless
