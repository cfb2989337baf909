// One conversion of a pattern, as both % and str.format() know it.
#pragma once
#include <string>

#include "text/jinja_interp.hpp"

namespace stepless::jinja {

struct Spec {
  std::string fill = " ";
  char align = '\0';  // < > ^ or =, which puts the padding between sign and digits
  char sign = '-';    // - + or a space
  bool alternate = false;
  char group = '\0';  // , or _ between thousands
  std::int64_t width = 0;
  std::int64_t precision = -1;
  char type = '\0';
};

bool is_real_type(char type);     // eEfFgG%
bool is_integer_type(char type);  // dxXob
/// The first `chars` characters; all of them when negative.
Text cut(const Text& text, std::int64_t chars);
void add_padded(TextBuilder& out, const Text& text, const Spec& spec, char default_align);
/// A number by its type; an integer for the integer types.
void add_number(TextBuilder& out, const Value& value, const Spec& spec);
/// The digits of |value| with the sign of `negative`, padded.
void add_digits(TextBuilder& out, const Spec& spec, std::string digits, bool negative,
                bool from_user);

}  // namespace stepless::jinja
