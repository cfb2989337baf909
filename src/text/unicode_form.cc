#include "text/unicode_form.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.hpp"
#include "text/utf8.hpp"

namespace stepless {
namespace {

using Points = std::vector<utf8proc_int32_t>;

int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Compatibility mappings younger than the tables of Hugging Face's library, which leaves these
// characters alone.
bool is_late_mapping(char32_t c) {
  return c == 0x32FF || (c >= 0xA7F2 && c <= 0xA7F4) || c == 0xAB69 ||
         (c >= 0x10780 && c <= 0x107BA) || (c >= 0x1E030 && c <= 0x1E06D) || c == 0x1F16C ||
         (c >= 0x1FBF0 && c <= 0x1FBF9);
}

void decompose(Points& points, char32_t c, utf8proc_option_t options) {
  if ((static_cast<unsigned>(options) & UTF8PROC_COMPAT) != 0 && is_late_mapping(c)) {
    points.push_back(static_cast<utf8proc_int32_t>(c));
    return;
  }
  std::array<utf8proc_int32_t, 32> parts{};
  int boundary = 0;
  const utf8proc_ssize_t n =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts.data(),
                              static_cast<utf8proc_ssize_t>(parts.size()), options, &boundary);
  if (n < 0 || n > static_cast<utf8proc_ssize_t>(parts.size()))
    fail(ErrorCode::internal, "normalizer: U+{:04X}: {}", static_cast<unsigned>(c),
         n < 0 ? utf8proc_errmsg(n) : "too long");
  points.insert(points.end(), parts.begin(), parts.begin() + n);
}

// Canonical order: each run of marks sorted by class, stably.
void order_marks(Points& points) {
  const auto is_starter = [](utf8proc_int32_t c) { return combining_class(c) == 0; };
  for (auto begin = points.begin(); begin != points.end();) {
    begin = std::find_if_not(begin, points.end(), is_starter);
    const auto end = std::find_if(begin, points.end(), is_starter);
    if (end - begin > 1) {
      std::stable_sort(begin, end, [](utf8proc_int32_t a, utf8proc_int32_t b) {
        return combining_class(a) < combining_class(b);
      });
    }
    begin = end;
  }
}

// Characters that are their own NFC and compose with nothing before them; a fast yes, not the whole
// truth.
bool is_own_nfc(char32_t c) {
  return c < 0x300 || (c >= 0x400 && c <= 0x482) || (c >= 0x2010 && c <= 0x2027) ||
         (c >= 0x3041 && c <= 0x3096) || (c >= 0x30A0 && c <= 0x30FF) ||
         (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7A3);
}

}  // namespace

std::size_t inert_run(std::string_view text, std::size_t at, UnicodeForm form) {
  std::size_t i = at;
  const bool wide = form.compose && !form.compatibility;
  while (i < text.size()) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const Utf8Char c = read_utf8(text, i);
    if (!wide || !is_own_nfc(c.value)) break;
    i += c.bytes;
  }
  return i - at;
}

void append_normal_form(std::string& out, std::string_view text, UnicodeForm form) {
  unsigned options = UTF8PROC_STABLE | (form.compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
  if (form.compatibility) options |= UTF8PROC_COMPAT;
  Points points;
  points.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = read_utf8(text, at);
    decompose(points, c.value, static_cast<utf8proc_option_t>(options));
    at += c.bytes;
  }
  order_marks(points);
  auto count = static_cast<utf8proc_ssize_t>(points.size());
  if (form.compose)
    count = utf8proc_normalize_utf32(points.data(), count, static_cast<utf8proc_option_t>(options));
  if (count < 0) fail(ErrorCode::internal, "normalizer: {}", utf8proc_errmsg(count));
  for (utf8proc_ssize_t i = 0; i < count; ++i)
    append_utf8(out, static_cast<char32_t>(points[static_cast<std::size_t>(i)]));
}

}  // namespace stepless
