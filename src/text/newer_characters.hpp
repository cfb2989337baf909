// Characters that Unicode 15 to 16 assigned. Hugging Face's library knows them; Debian 12's PCRE2
// (Unicode 14) and utf8proc do not, or not all.
#pragma once
#include <span>
#include <string_view>

namespace stepless {

struct NewerCharacters {
  char32_t low, high;
  std::string_view category;  // short name of the general category
};

/// Sorted, apart.
std::span<const NewerCharacters> newer_characters();

/// The category of a newer character; empty for any other.
std::string_view newer_category(char32_t c);

}  // namespace stepless
