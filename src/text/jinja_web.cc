// The filters of web templates that a chat template may use all the same: striptags and urlencode.
#include <array>

#include "text/jinja_filters.hpp"
#include "text/jinja_number.hpp"
#include "text/jinja_strings.hpp"
#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

std::string without(std::string text, std::string_view open, std::string_view close) {
  std::string out;
  std::size_t done = 0;
  while (true) {
    const std::size_t begin = text.find(open, done);
    const std::size_t end =
        begin == std::string::npos ? begin : text.find(close, begin + open.size());
    if (end == std::string::npos) break;
    out.append(text, done, begin - done);
    done = end + close.size();
  }
  return out.append(text, done);
}

std::string with_single_spaces(std::string_view text) {
  std::string out;
  bool gap = false;
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = next_char(text, pos);
    if (is_space(c)) {
      gap = true;
      continue;
    }
    if (gap && !out.empty()) out.push_back(' ');
    gap = false;
    append_char(out, c);
  }
  return out;
}

/// The character of &name; or &#number;, nothing for other names.
std::optional<char32_t> entity(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, char32_t>, 6> kNames = {
      {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}, {"nbsp", 0xA0}}};
  for (const auto& [known, c] : kNames)
    if (known == name) return c;
  if (name.size() < 2 || name.size() > 9 || name[0] != '#') return std::nullopt;
  const bool hex = name[1] == 'x' || name[1] == 'X';
  const auto number = parse_int(name.substr(hex ? 2 : 1), hex ? 16 : 10);
  if (!number || *number <= 0 || *number > 0x10FFFF || (*number >= 0xD800 && *number < 0xE000))
    return std::nullopt;
  return static_cast<char32_t>(*number);
}

std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t end = text[pos] == '&' ? text.find(';', pos) : std::string_view::npos;
    const auto c = end == std::string_view::npos || end - pos > 12
                       ? std::nullopt
                       : entity(text.substr(pos + 1, end - pos - 1));
    if (c) {
      append_char(out, *c);
      pos = end + 1;
    } else {
      out.push_back(text[pos++]);
    }
  }
  return out;
}

}  // namespace

Text strip_tags(const Text& text, Meter& meter) {
  meter.step(text.size() / 16);
  return derived(
      unescaped(with_single_spaces(without(without(text.bytes(), "<!--", "-->"), "<", ">"))), text);
}

Text quoted_for_url(const Text& text, bool slash_is_safe, Meter& meter) {
  meter.step(text.size() / 16);
  std::string out;
  for (const char c : text.bytes()) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || c == '_' || c == '.' || c == '-' || c == '~' || (c == '/' && slash_is_safe))
      out.push_back(c);
    else if (c == ' ' && !slash_is_safe)
      out.push_back('+');
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return derived(std::move(out), text);
}

}  // namespace stepless::jinja
