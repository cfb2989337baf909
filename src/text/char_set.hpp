// Sets of characters as PCRE2 writes them; Oniguruma nests, intersects and negates them freely,
// PCRE2 10.42 does not.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace stepless {

/// A set under construction: the inside of one positive class, and fragments that each match one
/// character.
struct CharSet {
  std::string inside;
  std::vector<std::string> fragments;

  bool empty() const { return inside.empty() && fragments.empty(); }
  void add(const CharSet& other);
  void add_char(char32_t c);
  void add_range(char32_t low, char32_t high);
  void add_complement(const CharSet& other);
};

/// A fragment that matches exactly one character: one in the set, or (negated) one outside it.
std::string one_of(const CharSet& set, bool negated);
/// Characters in both.
CharSet intersect(const CharSet& a, const CharSet& b);

/// What Oniguruma (UTF-8) means by \s, \w, \d and \h; any other letter gives an empty set.
CharSet shorthand_set(char lower_letter);
/// \p{name}, and [:name:] without its colons. Scripts, general categories (short and long names),
/// POSIX names and binary properties. Whether a script exists is left to PCRE2.
CharSet property_set(std::string_view name);

}  // namespace stepless
