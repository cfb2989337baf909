#include "text/jinja_strings.hpp"

#include <algorithm>

#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

bool is_stripped(char32_t c, const std::optional<std::string>& chars) {
  if (!chars) return is_space(c);
  for (std::size_t pos = 0; pos < chars->size();)
    if (next_char(*chars, pos) == c) return true;
  return false;
}

std::int64_t signed_of(std::size_t offset) { return static_cast<std::int64_t>(offset); }

std::vector<Text> split_spaces(const Text& text, std::int64_t most) {
  const std::string& bytes = text.bytes();
  std::vector<Text> out;
  std::size_t pos = 0;
  while (true) {
    std::size_t after = pos;
    while (pos < bytes.size() && is_space(next_char(bytes, after))) pos = after;
    if (pos >= bytes.size()) return out;
    if (most >= 0 && std::ssize(out) >= most) {
      out.push_back(text.slice(signed_of(pos), text.size()));
      return out;
    }
    std::size_t end = pos;
    after = pos;
    while (end < bytes.size() && !is_space(next_char(bytes, after))) end = after;
    out.push_back(text.slice(signed_of(pos), signed_of(end)));
    pos = end;
  }
}

std::vector<Text> rsplit_spaces(const Text& text, std::int64_t most) {
  const std::string& bytes = text.bytes();
  std::vector<Text> out;
  std::size_t end = bytes.size();
  while (true) {
    std::size_t before = end;
    while (end > 0 && is_space(last_char(bytes, before))) end = before;
    if (end == 0) break;
    if (most >= 0 && std::ssize(out) >= most) {
      out.push_back(text.slice(0, signed_of(end)));
      break;
    }
    std::size_t begin = end;
    before = end;
    while (begin > 0 && !is_space(last_char(bytes, before))) begin = before;
    out.push_back(text.slice(signed_of(begin), signed_of(end)));
    end = begin;
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<Text> split_at(const Text& text, const std::string& separator, std::int64_t most) {
  std::vector<Text> out;
  std::size_t begin = 0;
  while (most < 0 || std::ssize(out) < most) {
    const std::size_t at = text.bytes().find(separator, begin);
    if (at == std::string::npos) break;
    out.push_back(text.slice(signed_of(begin), signed_of(at)));
    begin = at + separator.size();
  }
  out.push_back(text.slice(signed_of(begin), text.size()));
  return out;
}

std::vector<Text> rsplit_at(const Text& text, const std::string& separator, std::int64_t most) {
  std::vector<Text> out;
  std::size_t end = text.bytes().size();
  while ((most < 0 || std::ssize(out) < most) && end >= separator.size()) {
    const std::size_t at = text.bytes().rfind(separator, end - separator.size());
    if (at == std::string::npos) break;
    out.push_back(text.slice(signed_of(at + separator.size()), signed_of(end)));
    end = at;
  }
  out.push_back(text.slice(0, signed_of(end)));
  std::reverse(out.begin(), out.end());
  return out;
}

/// replace('', with): `with` before every character and at the end.
Text interleave(const Text& text, const Text& with, std::int64_t most, Meter& meter) {
  TextBuilder out(meter);
  std::int64_t done = 0;
  for (std::int64_t made = 0; most < 0 || made < most; ++made) {
    out.add(with);
    if (done >= text.size()) return out.take();
    const std::int64_t end = offset_of_char(text.bytes(), 1, done);
    out.add_slice(text, done, end);
    done = end;
  }
  out.add_slice(text, done, text.size());
  return out.take();
}

}  // namespace

Text strip(const Text& text, const std::optional<std::string>& chars, Side side) {
  const std::string& bytes = text.bytes();
  std::size_t begin = 0;
  std::size_t end = bytes.size();
  std::size_t at = 0;
  while (side != Side::right && begin < end && is_stripped(next_char(bytes, at), chars)) begin = at;
  at = end;
  while (side != Side::left && end > begin && is_stripped(last_char(bytes, at), chars)) end = at;
  return text.slice(signed_of(begin), signed_of(end));
}

std::vector<Text> split(const Text& text, const std::optional<std::string>& separator,
                        std::int64_t most, Side from) {
  if (!separator) return from == Side::right ? rsplit_spaces(text, most) : split_spaces(text, most);
  if (separator->empty()) stop("split: an empty separator");
  return from == Side::right ? rsplit_at(text, *separator, most) : split_at(text, *separator, most);
}

std::vector<Text> split_lines(const Text& text, bool keep_ends) {
  const std::string& bytes = text.bytes();
  std::vector<Text> out;
  std::size_t begin = 0;
  for (std::size_t pos = 0; pos < bytes.size();) {
    const std::size_t at = pos;
    const char32_t c = next_char(bytes, pos);
    if (!is_line_break(c)) continue;
    if (c == '\r' && pos < bytes.size() && bytes[pos] == '\n') ++pos;
    out.push_back(text.slice(signed_of(begin), signed_of(keep_ends ? pos : at)));
    begin = pos;
  }
  if (begin < bytes.size()) out.push_back(text.slice(signed_of(begin), text.size()));
  return out;
}

Text replace(const Text& text, const Text& old, const Text& with, std::int64_t most, Meter& meter) {
  if (old.size() == 0) return interleave(text, with, most, meter);
  TextBuilder out(meter);
  std::int64_t done = 0;
  for (std::int64_t made = 0; most < 0 || made < most; ++made) {
    const std::size_t at = text.bytes().find(old.bytes(), static_cast<std::size_t>(done));
    if (at == std::string::npos) break;
    out.add_slice(text, done, signed_of(at));
    out.add(with);
    done = signed_of(at) + old.size();
  }
  out.add_slice(text, done, text.size());
  return out.take();
}

Text map_case(const Text& text, std::string (*map)(std::string_view), Meter& meter) {
  std::string bytes = map(text.bytes());
  meter.grow(std::ssize(bytes), std::ssize(bytes));
  const bool same_places = text.is_ascii() && std::ssize(bytes) == text.size();
  Text out =
      same_places ? Text(std::move(bytes), text.user_spans()) : derived(std::move(bytes), text);
  out.set_markup(text.is_markup());
  return out;
}

Text pad(const Text& text, std::int64_t left, std::int64_t right, const Text& fill, Meter& meter) {
  if (fill.chars() != 1) stop("the padding is '{}'; one character is possible", fill.bytes());
  TextBuilder out(meter);
  for (std::int64_t i = 0; i < left; ++i) out.add(fill);
  out.add(text);
  for (std::int64_t i = 0; i < right; ++i) out.add(fill);
  return out.take();
}

Text center(const Text& text, std::int64_t width, const Text& fill, Meter& meter) {
  const std::int64_t missing = std::max<std::int64_t>(width - text.chars(), 0);
  const std::int64_t left = missing / 2 + (missing & width & 1);
  return pad(text, left, missing - left, fill, meter);
}

}  // namespace stepless::jinja
