// Numbers and padding by a Spec.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "text/jinja_format_spec.hpp"
#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

constexpr std::int64_t kMaxPrecision = 400;

std::string with_groups(const std::string& digits, char separator) {
  const std::size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && i < whole && (whole - i) % 3 == 0) out.push_back(separator);
    out.push_back(digits[i]);
  }
  return out;
}

std::string real_digits(double value, const Spec& spec) {
  const char type = spec.type == '%'                            ? 'f'
                    : spec.type == 'F' && !std::isfinite(value) ? 'F'
                                                                : spec.type;
  if (std::isnan(value)) return type >= 'a' ? "nan" : "NAN";
  if (std::isinf(value)) return type >= 'a' ? "inf" : "INF";
  const std::string pattern = std::string("%") + (spec.alternate ? "#" : "") + ".*" + type;
  const int precision =
      static_cast<int>(spec.precision < 0 ? 6 : std::min(spec.precision, kMaxPrecision));
  std::array<char, 800> buffer{};
  std::snprintf(buffer.data(), buffer.size(), pattern.c_str(), precision, value);
  return buffer.data();
}

std::string integer_digits(Int value, const Spec& spec) {
  const char type = spec.type;
  const int base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  const std::string digits = format_int(value, base);
  return type == 'X' ? to_upper(digits) : digits;
}

void add_fill(TextBuilder& out, const Spec& spec, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) out.add(spec.fill);
}

}  // namespace

bool is_real_type(char type) {
  return type != '\0' && std::string_view("eEfFgG%").find(type) != std::string_view::npos;
}
bool is_integer_type(char type) {
  return type != '\0' && std::string_view("dxXob").find(type) != std::string_view::npos;
}

Text cut(const Text& text, std::int64_t chars) {
  return chars >= 0 && chars < text.chars() ? text.slice(0, text.offset(chars)) : text;
}

void add_padded(TextBuilder& out, const Text& text, const Spec& spec, char default_align) {
  const std::int64_t missing = std::max<std::int64_t>(spec.width - text.chars(), 0);
  const char align = spec.align == '\0' ? default_align : spec.align;
  const std::int64_t before = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  add_fill(out, spec, before);
  out.add(text);
  add_fill(out, spec, missing - before);
}

void add_digits(TextBuilder& out, const Spec& spec, std::string digits, bool negative,
                bool from_user) {
  if (spec.group != '\0') digits = with_groups(digits, spec.group);
  std::string head = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  if (spec.alternate && is_integer_type(spec.type) && spec.type != 'd')
    head += std::string("0") + spec.type;
  if (spec.align != '=') return add_padded(out, Text(head + digits, from_user), spec, '>');
  out.add(head, from_user);
  add_fill(out, spec, spec.width - static_cast<std::int64_t>(head.size() + digits.size()));
  out.add(digits, from_user);
}

void add_number(TextBuilder& out, const Value& value, const Spec& spec) {
  if (!is_real_type(spec.type)) {
    const Int number = value.integer();
    return add_digits(out, spec, integer_digits(number < 0 ? -number : number, spec), number < 0,
                      value.user());
  }
  const double number = spec.type == '%' ? value.real() * 100 : value.real();
  const std::string digits = real_digits(std::fabs(number), spec) + (spec.type == '%' ? "%" : "");
  add_digits(out, spec, digits, std::signbit(number), value.user());
}

}  // namespace stepless::jinja
