#include "text/char_set.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace stepless {
namespace {

// White_Space. PCRE2's \s takes U+180E as well.
constexpr std::string_view kSpace =
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"
    "\\x{3000}";
// PCRE2's \w leaves out marks and connectors other than the underscore.
constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

using Name = std::pair<std::string_view, std::string_view>;

// Long names and POSIX names; keys as simple_name() writes them.
constexpr std::array kSets = {
    Name{"letter", "\\p{L}"},
    Name{"casedletter", "\\p{Lu}\\p{Ll}\\p{Lt}"},
    Name{"lc", "\\p{Lu}\\p{Ll}\\p{Lt}"},
    Name{"uppercaseletter", "\\p{Lu}"},
    Name{"lowercaseletter", "\\p{Ll}"},
    Name{"titlecaseletter", "\\p{Lt}"},
    Name{"modifierletter", "\\p{Lm}"},
    Name{"otherletter", "\\p{Lo}"},
    Name{"mark", "\\p{M}"},
    Name{"combiningmark", "\\p{M}"},
    Name{"nonspacingmark", "\\p{Mn}"},
    Name{"spacingmark", "\\p{Mc}"},
    Name{"enclosingmark", "\\p{Me}"},
    Name{"number", "\\p{N}"},
    Name{"decimalnumber", "\\p{Nd}"},
    Name{"letternumber", "\\p{Nl}"},
    Name{"othernumber", "\\p{No}"},
    Name{"punctuation", "\\p{P}"},
    Name{"connectorpunctuation", "\\p{Pc}"},
    Name{"dashpunctuation", "\\p{Pd}"},
    Name{"openpunctuation", "\\p{Ps}"},
    Name{"closepunctuation", "\\p{Pe}"},
    Name{"initialpunctuation", "\\p{Pi}"},
    Name{"finalpunctuation", "\\p{Pf}"},
    Name{"otherpunctuation", "\\p{Po}"},
    Name{"symbol", "\\p{S}"},
    Name{"mathsymbol", "\\p{Sm}"},
    Name{"currencysymbol", "\\p{Sc}"},
    Name{"modifiersymbol", "\\p{Sk}"},
    Name{"othersymbol", "\\p{So}"},
    Name{"separator", "\\p{Z}"},
    Name{"spaceseparator", "\\p{Zs}"},
    Name{"lineseparator", "\\p{Zl}"},
    Name{"paragraphseparator", "\\p{Zp}"},
    Name{"other", "\\p{C}"},
    Name{"control", "\\p{Cc}"},
    Name{"format", "\\p{Cf}"},
    Name{"unassigned", "\\p{Cn}"},
    Name{"privateuse", "\\p{Co}"},
    Name{"surrogate", "\\p{Cs}"},
    Name{"any", "\\x{0}-\\x{10ffff}"},
    Name{"assigned", "\\P{Cn}"},
    Name{"ascii", "\\x{0}-\\x{7f}"},
    Name{"alpha", "\\p{Alphabetic}"},
    Name{"alnum", "\\p{Alphabetic}\\p{Nd}"},
    Name{"blank", "\\p{Zs}\\x{9}"},
    Name{"cntrl", "\\p{Cc}"},
    Name{"digit", "\\p{Nd}"},
    Name{"lower", "\\p{Lowercase}"},
    Name{"upper", "\\p{Uppercase}"},
    Name{"punct", "\\p{P}$+<=>\\x{5e}`|~"},
    Name{"space", kSpace},
    Name{"whitespace", kSpace},
    Name{"xdigit", "0-9A-Fa-f"},
    Name{"word", kWord},
};

// Binary properties that PCRE2 10.42 knows under the same name.
constexpr std::array<std::string_view, 24> kBinary = {"alphabetic",
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
                                                      "lowercase",
                                                      "math",
                                                      "quotationmark",
                                                      "uppercase",
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
  if (lower_letter == 's') set.inside = kSpace;
  if (lower_letter == 'w') set.inside = kWord;
  if (lower_letter == 'd') set.inside = "\\p{Nd}";
  if (lower_letter == 'h') set.inside = "0-9A-Fa-f";
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
      std::find_if(kSets.begin(), kSets.end(), [&](const Name& n) { return n.first == simple; });
  if (!category.empty()) {
    set.inside = fmt::format("\\p{{{}}}", category);
  } else if (known != kSets.end()) {
    set.inside = known->second;
  } else if (std::find(kBinary.begin(), kBinary.end(), simple) != kBinary.end()) {
    set.inside = fmt::format("\\p{{{}}}", simple);
  } else {
    // A bare script name means script extensions to PCRE2, the script alone to Oniguruma.
    set.inside = fmt::format("\\p{{sc:{}}}", simple);
  }
  return set;
}

}  // namespace stepless
