// UTF-8 by hand: validity, the lossy repair that String::from_utf8_lossy and Python's "replace"
// make (one U+FFFD per maximal subpart), and the same repair over a stream that may break anywhere.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace stepless {

inline constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";  // U+FFFD

enum class Utf8Kind {
  valid,       // a whole character
  invalid,     // bytes that no continuation can make a character: the maximal subpart
  incomplete,  // the text ends inside a character that is right so far
};

struct Utf8Char {
  char32_t value;  // the character when valid, else U+FFFD
  std::size_t bytes;
  Utf8Kind kind;
};

/// The character (or broken bytes) at text[at]; at < text.size().
Utf8Char read_utf8(std::string_view text, std::size_t at);

/// Where the last character of valid text[0, end) starts; end > 0.
std::size_t last_char(std::string_view text, std::size_t end);

/// True when every byte belongs to a whole character (no overlong forms, no surrogates, at most
/// U+10FFFF).
bool is_utf8(std::string_view text);
/// True when every byte is below 128.
bool is_ascii(std::string_view text);

/// `text` with each maximal subpart that is not UTF-8 replaced by U+FFFD; unchanged when it is
/// valid.
std::string repair_utf8(std::string_view text);

void append_utf8(std::string& out, char32_t value);

/// repair_utf8 over bytes that arrive in parts: what may still become a character waits. Copyable;
/// holds at most 3 bytes.
class Utf8Stream {
 public:
  /// Appends to `out` all text that is certain now.
  void push(std::string_view bytes, std::string& out);
  /// Appends U+FFFD for a character that never ended.
  void finish(std::string& out);

 private:
  std::string tail_;
};

}  // namespace stepless
