#include "text/char_set.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/newer_characters.hpp"

namespace stepless {
namespace {

// White_Space. PCRE2's \s takes U+180E as well.
constexpr std::string_view kSpace =
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"
    "\\x{3000}";
// A property that is not PCRE2's own name for it: the categories it holds, what else a class may
// hold, and the categories whose newer characters belong to it besides.
struct Named {
  std::string_view name;  // as simple_name() writes it
  std::string_view categories, inside, newer;
};

// PCRE2's own \\w would leave out marks and connectors other than the underscore.
constexpr std::array kNamed = {
    Named{"letter", "L", "", ""},
    Named{"casedletter", "Lu Ll Lt", "", ""},
    Named{"lc", "Lu Ll Lt", "", ""},
    Named{"uppercaseletter", "Lu", "", ""},
    Named{"lowercaseletter", "Ll", "", ""},
    Named{"titlecaseletter", "Lt", "", ""},
    Named{"modifierletter", "Lm", "", ""},
    Named{"otherletter", "Lo", "", ""},
    Named{"mark", "M", "", ""},
    Named{"combiningmark", "M", "", ""},
    Named{"nonspacingmark", "Mn", "", ""},
    Named{"spacingmark", "Mc", "", ""},
    Named{"enclosingmark", "Me", "", ""},
    Named{"number", "N", "", ""},
    Named{"decimalnumber", "Nd", "", ""},
    Named{"letternumber", "Nl", "", ""},
    Named{"othernumber", "No", "", ""},
    Named{"punctuation", "P", "", ""},
    Named{"connectorpunctuation", "Pc", "", ""},
    Named{"dashpunctuation", "Pd", "", ""},
    Named{"openpunctuation", "Ps", "", ""},
    Named{"closepunctuation", "Pe", "", ""},
    Named{"initialpunctuation", "Pi", "", ""},
    Named{"finalpunctuation", "Pf", "", ""},
    Named{"otherpunctuation", "Po", "", ""},
    Named{"symbol", "S", "", ""},
    Named{"mathsymbol", "Sm", "", ""},
    Named{"currencysymbol", "Sc", "", ""},
    Named{"modifiersymbol", "Sk", "", ""},
    Named{"othersymbol", "So", "", ""},
    Named{"separator", "Z", "", ""},
    Named{"spaceseparator", "Zs", "", ""},
    Named{"lineseparator", "Zl", "", ""},
    Named{"paragraphseparator", "Zp", "", ""},
    Named{"other", "C", "", ""},
    Named{"control", "Cc", "", ""},
    Named{"format", "Cf", "", ""},
    Named{"unassigned", "Cn", "", ""},
    Named{"privateuse", "Co", "", ""},
    Named{"surrogate", "Cs", "", ""},
    Named{"cntrl", "Cc", "", ""},
    Named{"digit", "Nd", "", ""},
    Named{"punct", "P S", "", ""},
    Named{"any", "", "\\x{0}-\\x{10ffff}", ""},
    Named{"ascii", "", "\\x{0}-\\x{7f}", ""},
    Named{"alpha", "", "\\p{Alphabetic}", "L"},
    Named{"alphabetic", "", "\\p{Alphabetic}", "L"},
    Named{"alnum", "Nd", "\\p{Alphabetic}", "L"},
    Named{"blank", "Zs", "\\x{9}", ""},
    Named{"graph", "L M N P S Cf Co", "", ""},
    Named{"print", "L M N P S Cf Co Zs", "", ""},
    Named{"lower", "", "\\p{Lowercase}", "Ll"},
    Named{"lowercase", "", "\\p{Lowercase}", "Ll"},
    Named{"upper", "", "\\p{Uppercase}", "Lu"},
    Named{"uppercase", "", "\\p{Uppercase}", "Lu"},
    Named{"space", "", kSpace, ""},
    Named{"whitespace", "", kSpace, ""},
    Named{"word", "M Nd Pc", "\\p{Alphabetic}", "L"},
    Named{"xdigit", "", "0-9A-Fa-f", ""},
    Named{"han", "", "\\p{sc:han}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}", ""},
};

// Binary properties that PCRE2 10.42 knows under the same name.
constexpr std::array<std::string_view, 22> kBinary = {"alphabetic",
                                                      "asciihexdigit",
                                                      "cased",
                                                      "caseignorable",
                                                      "dash",
                                                      "defaultignorablecodepoint",
                                                      "diacritic",
                                                      "emoji",
                                                      "emojicomponent",
                                                      "emojimodifier",
                                                      "emojimodifierbase",
                                                      "emojipresentation",
                                                      "extendedpictographic",
                                                      "extender",
                                                      "hexdigit",
                                                      "idcontinue",
                                                      "idstart",
                                                      "ideographic",

                                                      "math",
                                                      "quotationmark",

                                                      "xidcontinue",
                                                      "xidstart"};

// Names are compared without case, spaces, hyphens and underscores.
std::string simple_name(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  return out;
}

// "lu" -> "Lu" when it is the short name of a general category.
std::string category_name(const std::string& simple) {
  static constexpr std::string_view kAll =
      " l lu ll lt lm lo m mn mc me n nd nl no p pc pd ps pe pi pf po s sm sc sk so z zs zl zp"
      " c cc cf cn co cs ";
  if (simple.empty() || simple.size() > 2) return {};
  if (kAll.find(" " + simple + " ") == std::string_view::npos) return {};
  std::string name = simple;
  name[0] = static_cast<char>(name[0] - 'a' + 'A');
  return name;
}

template <class Visit>
void for_each_word(std::string_view words, Visit&& visit) {
  while (!words.empty()) {
    const std::size_t end = std::min(words.find(' '), words.size());
    visit(words.substr(0, end));
    words.remove_prefix(std::min(end + 1, words.size()));
  }
}

// The newer characters of a category ("L" takes "Lu", "Ll" …), neighbours joined.
void add_newer(CharSet& set, std::string_view category) {
  char32_t low = 0, high = 0;
  const auto flush = [&] {
    if (high == 0) return;
    low == high ? set.add_char(low) : set.add_range(low, high);
  };
  for (const NewerCharacters& newer : newer_characters()) {
    if (!newer.category.starts_with(category)) continue;
    if (high + 1 != newer.low) {
      flush();
      low = newer.low;
    }
    high = newer.high;
  }
  flush();
}

void add_category(CharSet& set, std::string_view category) {
  const std::string plain = fmt::format("\\p{{{}}}", category);
  if (category == "C" || category == "Cn") {  // the newer characters are assigned now
    CharSet assigned;
    add_newer(assigned, "");
    set.fragments.push_back(fmt::format("(?:(?!{})[{}])", one_of(assigned, false), plain));
    if (category == "C") add_newer(set, "Cf");
    return;
  }
  set.inside.append(plain);
  add_newer(set, category);
}

}  // namespace

void CharSet::add(const CharSet& other) {
  inside.append(other.inside);
  fragments.insert(fragments.end(), other.fragments.begin(), other.fragments.end());
}

void CharSet::add_char(char32_t c) {
  inside.append(fmt::format("\\x{{{:x}}}", static_cast<unsigned>(c)));
}

void CharSet::add_range(char32_t low, char32_t high) {
  add_char(low);
  inside.push_back('-');
  add_char(high);
}

void CharSet::add_complement(const CharSet& other) { fragments.push_back(one_of(other, true)); }

std::string one_of(const CharSet& set, bool negated) {
  if (set.fragments.empty()) return fmt::format("[{}{}]", negated ? "^" : "", set.inside);
  std::string any;
  if (!set.inside.empty()) any = fmt::format("[{}]", set.inside);
  for (const std::string& fragment : set.fragments) {
    if (!any.empty()) any.push_back('|');
    any.append(fragment);
  }
  return negated ? fmt::format("(?:(?!{})(?s:.))", any) : fmt::format("(?:{})", any);
}

CharSet intersect(const CharSet& a, const CharSet& b) {
  CharSet both;
  both.fragments.push_back(fmt::format("(?:(?={}){})", one_of(a, false), one_of(b, false)));
  return both;
}

CharSet shorthand_set(char lower_letter) {
  CharSet set;
  if (lower_letter == 's') return property_set("space");
  if (lower_letter == 'd') return property_set("Nd");
  if (lower_letter == 'h') return property_set("xdigit");
  if (lower_letter == 'w') {
    set = property_set("word");
    set.inside.append("\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}");  // Latin-1 has its own table there
  }
  return set;
}

CharSet property_set(std::string_view name) {
  CharSet set;
  if (!name.empty() && name.front() == '^') {
    set.add_complement(property_set(name.substr(1)));
    return set;
  }
  const std::string simple = simple_name(name);
  const std::string category = category_name(simple);
  const auto known =
      std::find_if(kNamed.begin(), kNamed.end(), [&](const Named& n) { return n.name == simple; });
  if (!category.empty()) {
    add_category(set, category);
  } else if (known != kNamed.end()) {
    for_each_word(known->categories, [&](std::string_view word) { add_category(set, word); });
    set.inside.append(known->inside);
    for_each_word(known->newer, [&](std::string_view word) { add_newer(set, word); });
  } else if (std::find(kBinary.begin(), kBinary.end(), simple) != kBinary.end()) {
    set.inside = fmt::format("\\p{{{}}}", simple);
  } else {
    // A bare script name means script extensions to PCRE2, the script alone to Oniguruma.
    set.inside = fmt::format("\\p{{sc:{}}}", simple);
  }
  return set;
}

}  // namespace stepless
