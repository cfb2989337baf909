#include "text/unicode.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "text/newer_characters.hpp"
#include "text/utf8.hpp"

namespace stepless {
namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool within(char32_t c, char32_t low, char32_t high) { return c >= low && c <= high; }

struct Range {
  char32_t low, high;
};

// Punctuation to Unicode, not to the crate that Hugging Face's library asks (unicode_categories,
// Unicode 8).
constexpr std::array kLatePunctuation = {
    Range{0x61D, 0x61D},     Range{0x9FD, 0x9FD},     Range{0xA76, 0xA76},
    Range{0xC77, 0xC77},     Range{0xC84, 0xC84},     Range{0x1B7D, 0x1B7E},
    Range{0x2E43, 0x2E4F},   Range{0x2E52, 0x2E5D},   Range{0x10EAD, 0x10EAD},
    Range{0x10F55, 0x10F59}, Range{0x10F86, 0x10F89}, Range{0x111C9, 0x111C9},
    Range{0x1144B, 0x1144F}, Range{0x1145A, 0x1145B}, Range{0x1145D, 0x1145D},
    Range{0x11660, 0x1166C}, Range{0x116B9, 0x116B9}, Range{0x1183B, 0x1183B},
    Range{0x11944, 0x11946}, Range{0x119E2, 0x119E2}, Range{0x11A3F, 0x11A46},
    Range{0x11A9A, 0x11A9C}, Range{0x11A9E, 0x11AA2}, Range{0x11B00, 0x11B09},
    Range{0x11C41, 0x11C45}, Range{0x11C70, 0x11C71}, Range{0x11EF7, 0x11EF8},
    Range{0x11F43, 0x11F4F}, Range{0x11FFF, 0x11FFF}, Range{0x12FF1, 0x12FF2},
    Range{0x16E97, 0x16E9A}, Range{0x16FE2, 0x16FE2}, Range{0x1E95E, 0x1E95F},
};

}  // namespace

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || within(c, 0x09, 0x0D);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || within(c, 0x2000, 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_mark(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC ||
         kind == UTF8PROC_CATEGORY_ME;
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return within(c, '0', '9');
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL ||
         kind == UTF8PROC_CATEGORY_NO || newer_category(c).starts_with('N');
}

bool is_word(char32_t c) {
  if (c < 0x80) {
    return within(c, 'a', 'z') || within(c, 'A', 'Z') || within(c, '0', '9') || c == '_';
  }
  const utf8proc_category_t kind = category(c);
  if (kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO) return true;
  if (is_mark(c) || kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL) return true;
  if (kind == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D) return true;
  const std::string_view newer = newer_category(c);
  if (newer.starts_with('L') || newer.starts_with('M') || newer == "Nd") return true;
  // Symbols that are Alphabetic: circled and squared letters.
  return within(c, 0x24B6, 0x24E9) || within(c, 0x1F130, 0x1F149) || within(c, 0x1F150, 0x1F169) ||
         within(c, 0x1F170, 0x1F189);
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) {
    return within(c, '!', '/') || within(c, ':', '@') || within(c, '[', '`') || within(c, '{', '~');
  }
  if (c == 0x166D) return true;  // a symbol since Unicode 12
  const utf8proc_category_t kind = category(c);
  if (kind < UTF8PROC_CATEGORY_PC || kind > UTF8PROC_CATEGORY_PO) return false;
  const auto holds = [c](Range range) { return within(c, range.low, range.high); };
  return std::none_of(kLatePunctuation.begin(), kLatePunctuation.end(), holds);
}

void append_lower(std::string& out, char32_t c) {
  if (c == 0x130) {
    out.append("i\xCC\x87");
    return;
  }
  append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

}  // namespace stepless
