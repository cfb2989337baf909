// Python's numbers: how they print, parse and compute. Integers have 128 bits here; beyond that is
// an error.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja_value.hpp"

namespace stepless::jinja {

std::string format_int(Int value, int base = 10);
/// repr(float): the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
std::string format_real(double value);
/// int(text, base): spaces around, a sign and single underscores between digits are allowed; base 0
/// reads 0x, 0o, 0b.
std::optional<Int> parse_int(std::string_view text, int base = 10);
/// float(text): also inf, infinity and nan.
std::optional<double> parse_real(std::string_view text);
/// int(value) of a float. Throws Failure for nan, inf and what exceeds 128 bits.
Int truncate_real(double value);

enum class Op : std::uint8_t {
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  modulo,
  power,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  in,
  not_in,
};
/// Arithmetic on two numbers (booleans count as 0 and 1); `op` is one of the first seven.
Value compute(Op op, const Value& a, const Value& b);
/// round(value, places), half to even on the exact binary value.
double round_to(double value, int places);

}  // namespace stepless::jinja
