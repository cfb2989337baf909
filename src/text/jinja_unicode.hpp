// UTF-8 and the character classes of Python's str: what strip() strips, isalpha() accepts and
// upper() makes. Text is valid UTF-8 everywhere inside the interpreter; offsets are bytes unless a
// name says chars.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace stepless::jinja {

/// The code point at `pos`, which moves behind it. The text must be valid.
char32_t next_char(std::string_view text, std::size_t& pos);
/// The code point before `pos`, which moves onto it.
char32_t last_char(std::string_view text, std::size_t& pos);
void append_char(std::string& out, char32_t c);
bool is_valid_utf8(std::string_view text);
std::int64_t count_chars(std::string_view text);
/// The byte offset of character `index` (0 ≤ index ≤ count_chars), counted from byte `from`.
std::int64_t offset_of_char(std::string_view text, std::int64_t index, std::int64_t from = 0);

bool is_space(char32_t c);
bool is_line_break(char32_t c);
bool is_printable(char32_t c);
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_title(char32_t c);
/// A letter, digit or underscore: \w of a regular expression.
bool is_word(char32_t c);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
/// Each run of cased letters starts with a title-case letter.
std::string to_title(std::string_view text);
std::string to_capitalized(std::string_view text);
std::string to_swapped_case(std::string_view text);
std::string to_folded(std::string_view text);

/// Characters whose upper or title form is longer than one character; nothing for all others.
struct LongCase {
  char32_t c;
  std::u32string_view upper, title;
};
const LongCase* find_long_case(char32_t c);

}  // namespace stepless::jinja
