#include "text/jinja_unicode.hpp"

#include <utf8proc.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "text/jinja_limits.hpp"

namespace stepless::jinja {
namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

std::uint8_t byte_at(std::string_view text, std::size_t i) {
  return static_cast<std::uint8_t>(text[i]);
}

bool is_continuation(std::uint8_t b) { return (b & 0xC0) == 0x80; }

/// How many of eight bytes continue a character (10xxxxxx).
int continuations(const char* bytes) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  return std::popcount((word >> 7) & ~(word >> 6) & 0x0101010101010101U);
}

char32_t simple_upper(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}
char32_t simple_lower(char32_t c) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}
char32_t simple_title(char32_t c) {
  return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
}

void append_all(std::string& out, std::u32string_view chars) {
  for (const char32_t c : chars) append_char(out, c);
}

void append_upper(std::string& out, char32_t c) {
  if (c < 0x80) return append_char(out, c >= 'a' && c <= 'z' ? c - 32 : c);
  if (const LongCase* row = find_long_case(c)) return append_all(out, row->upper);
  append_char(out, simple_upper(c));
}

void append_title(std::string& out, char32_t c) {
  if (const LongCase* row = find_long_case(c)) return append_all(out, row->title);
  append_char(out, simple_title(c));
}

bool is_cased(char32_t c) { return is_upper(c) || is_lower(c) || is_title(c); }

/// Marks and modifiers, which a search for the neighbouring letter of a sigma skips.
bool is_case_ignorable(char32_t c) {
  const utf8proc_category_t k = category(c);
  return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2019 ||
         k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
         k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK;
}

/// A capital sigma becomes ς after a letter and before none, else σ.
char32_t lower_sigma(std::string_view text, std::size_t begin, std::size_t end) {
  bool before = false;
  while (begin > 0) {
    const char32_t c = last_char(text, begin);
    if (is_case_ignorable(c)) continue;
    before = is_cased(c);
    break;
  }
  bool after = false;
  while (end < text.size()) {
    const char32_t c = next_char(text, end);
    if (is_case_ignorable(c)) continue;
    after = is_cased(c);
    break;
  }
  return before && !after ? 0x3C2 : 0x3C3;
}

void append_lower(std::string& out, std::string_view text, std::size_t begin, std::size_t end,
                  char32_t c) {
  if (c < 0x80) return append_char(out, c >= 'A' && c <= 'Z' ? c + 32 : c);
  if (c == 0x130) return append_all(out, U"i\x0307");
  append_char(out, c == 0x3A3 ? lower_sigma(text, begin, end) : simple_lower(c));
}

}  // namespace

char32_t next_char(std::string_view text, std::size_t& pos) {
  const std::uint8_t lead = byte_at(text, pos++);
  if (lead < 0x80) return lead;
  const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  char32_t c = lead & (0x3F >> more);
  for (int i = 0; i < more; ++i) c = c << 6 | (byte_at(text, pos++) & 0x3F);
  return c;
}

char32_t last_char(std::string_view text, std::size_t& pos) {
  do --pos;
  while (is_continuation(byte_at(text, pos)));
  std::size_t at = pos;
  return next_char(text, at);
}

void append_char(std::string& out, char32_t c) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xC0 | c >> 6);
  } else {
    if (c < 0x10000) {
      put(0xE0 | c >> 12);
    } else {
      put(0xF0 | c >> 18);
      put(0x80 | (c >> 12 & 0x3F));
    }
    put(0x80 | (c >> 6 & 0x3F));
  }
  put(0x80 | (c & 0x3F));
}

bool is_valid_utf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const std::uint8_t lead = byte_at(text, i);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    if (lead < 0xC2 || lead > 0xF4) return false;
    const std::size_t more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    if (text.size() - i <= more) return false;
    for (std::size_t j = 1; j <= more; ++j)
      if (!is_continuation(byte_at(text, i + j))) return false;
    const char32_t c = next_char(text, i);
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return false;
    if ((more == 2 && c < 0x800) || (more == 3 && c < 0x10000)) return false;
  }
  return true;
}

std::int64_t count_chars(std::string_view text) {
  std::int64_t count = 0;
  std::size_t pos = 0;
  for (; pos + 8 <= text.size(); pos += 8) count += 8 - continuations(text.data() + pos);
  for (; pos < text.size(); ++pos) count += is_continuation(byte_at(text, pos)) ? 0 : 1;
  return count;
}

std::int64_t offset_of_char(std::string_view text, std::int64_t index, std::int64_t from) {
  std::size_t pos = static_cast<std::size_t>(from);
  while (index > 8 && pos + 8 <= text.size()) {  // eight bytes begin at most eight characters
    index -= 8 - continuations(text.data() + pos);
    pos += 8;
  }
  while (pos < text.size() && is_continuation(byte_at(text, pos))) ++pos;
  for (; index > 0; --index) {
    ++pos;
    while (pos < text.size() && is_continuation(byte_at(text, pos))) ++pos;
  }
  return static_cast<std::int64_t>(pos);
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_line_break(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

bool is_printable(char32_t c) {
  if (c < 0x7F) return c >= 32;
  const utf8proc_category_t k = category(c);
  return k != UTF8PROC_CATEGORY_CN && k != UTF8PROC_CATEGORY_CC && k != UTF8PROC_CATEGORY_CF &&
         k != UTF8PROC_CATEGORY_CS && k != UTF8PROC_CATEGORY_CO && k != UTF8PROC_CATEGORY_ZL &&
         k != UTF8PROC_CATEGORY_ZP && k != UTF8PROC_CATEGORY_ZS;
}

bool is_alpha(char32_t c) {
  const utf8proc_category_t k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }

bool is_digit(char32_t c) {
  if (is_decimal(c)) return true;
  return c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468) ||
         (c >= 0x2474 && c <= 0x247C) || (c >= 0x2488 && c <= 0x2490);
}

bool is_numeric(char32_t c) {
  const utf8proc_category_t k = category(c);
  return is_digit(c) || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool is_upper(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z';
  return category(c) == UTF8PROC_CATEGORY_LU ||
         utf8proc_isupper(static_cast<utf8proc_int32_t>(c)) != 0;
}

bool is_lower(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z';
  return category(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA ||
         utf8proc_islower(static_cast<utf8proc_int32_t>(c)) != 0;
}

bool is_title(char32_t c) { return c >= 0x80 && category(c) == UTF8PROC_CATEGORY_LT; }

bool is_word(char32_t c) {
  if (c < 0x80) return c == '_' || (c >= '0' && c <= '9') || is_upper(c) || is_lower(c);
  return is_alpha(c) || is_numeric(c);
}

std::string to_upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t pos = 0; pos < text.size();) append_upper(out, next_char(text, pos));
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t begin = pos;
    const char32_t c = next_char(text, pos);
    append_lower(out, text, begin, pos, c);
  }
  return out;
}

std::string to_title(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool inside = false;
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t begin = pos;
    const char32_t c = next_char(text, pos);
    if (inside)
      append_lower(out, text, begin, pos, c);
    else
      append_title(out, c);
    inside = is_cased(c);
  }
  return out;
}

std::string to_capitalized(std::string_view text) {
  if (text.empty()) return {};
  std::size_t pos = 0;
  std::string out;
  append_title(out, next_char(text, pos));
  while (pos < text.size()) {
    const std::size_t begin = pos;
    const char32_t c = next_char(text, pos);
    append_lower(out, text, begin, pos, c);
  }
  return out;
}

std::string to_swapped_case(std::string_view text) {
  std::string out;
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t begin = pos;
    const char32_t c = next_char(text, pos);
    if (is_upper(c))
      append_lower(out, text, begin, pos, c);
    else if (is_lower(c))
      append_upper(out, c);
    else
      append_char(out, c);
  }
  return out;
}

std::string to_folded(std::string_view text) {
  utf8proc_uint8_t* folded = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &folded, UTF8PROC_CASEFOLD);
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(folded, std::free);
  if (size < 0) stop("casefold: {}", utf8proc_errmsg(size));
  return {reinterpret_cast<const char*>(folded), static_cast<std::size_t>(size)};
}

}  // namespace stepless::jinja
