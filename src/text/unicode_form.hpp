// Unicode normalization forms through utf8proc, in O(n log n) for any text (utf8proc's own ordering
// of marks is quadratic).
#pragma once
#include <string>
#include <string_view>

namespace stepless {

struct UnicodeForm {
  bool compatibility;  // NFKC, NFKD
  bool compose;        // NFC, NFKC
};

/// Appends the normal form of valid UTF-8.
void append_normal_form(std::string& out, std::string_view text, UnicodeForm form);

/// Bytes from `at` on that the form leaves alone, whatever stands before or behind them: whole
/// characters, all but the last of which also cannot combine with what follows the run.
std::size_t inert_run(std::string_view text, std::size_t at, UnicodeForm form);

}  // namespace stepless
