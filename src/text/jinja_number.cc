#include "text/jinja_number.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

using Unsigned = unsigned __int128;

constexpr Int kIntMax = static_cast<Int>(~Unsigned{0} >> 1);

[[noreturn]] void beyond() { stop("an integer beyond 128 bits"); }

std::string_view without_spaces(std::string_view text) {
  std::size_t begin = 0;
  std::size_t end = text.size();
  while (begin < end) {
    std::size_t after = begin;
    if (!is_space(next_char(text, after))) break;
    begin = after;
  }
  while (end > begin) {
    std::size_t before = end;
    if (!is_space(last_char(text, before))) break;
    end = before;
  }
  return text.substr(begin, end - begin);
}

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 99;
}

/// Removes single underscores between digits; false when they stand elsewhere.
bool drop_underscores(std::string_view text, std::string& out) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out.push_back(text[i]);
      continue;
    }
    const bool between = i > 0 && i + 1 < text.size() && digit_value(text[i - 1]) < 36 &&
                         digit_value(text[i + 1]) < 36;
    if (!between) return false;
  }
  return true;
}

int prefix_base(std::string_view digits) {
  if (digits.size() < 2 || digits[0] != '0') return 10;
  const char c = static_cast<char>(digits[1] | 0x20);
  return c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
}

Value floor_divide(Int a, Int b) {
  if (b == -1) {
    Int out = 0;
    if (__builtin_sub_overflow(Int{0}, a, &out)) beyond();
    return Value::integer(out);
  }
  const Int quotient = a / b;
  return Value::integer(a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient);
}

Value modulo(Int a, Int b) {
  if (b == -1) return Value::integer(0);
  const Int rest = a % b;
  return Value::integer(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
}

Value power(Int base, Int exponent) {
  if (exponent < 0) {
    if (base == 0) stop("0 to a negative power");
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  if (base == 0 || base == 1) return Value::integer(exponent == 0 ? 1 : base);
  if (base == -1) return Value::integer(exponent % 2 == 0 ? 1 : -1);
  if (exponent > 127) beyond();
  Int out = 1;
  for (Int i = 0; i < exponent; ++i)
    if (__builtin_mul_overflow(out, base, &out)) beyond();
  return Value::integer(out);
}

Value compute_int(Op op, Int a, Int b) {
  Int out = 0;
  bool overflow = false;
  if (op == Op::add) {
    overflow = __builtin_add_overflow(a, b, &out);
  } else if (op == Op::subtract) {
    overflow = __builtin_sub_overflow(a, b, &out);
  } else if (op == Op::multiply) {
    overflow = __builtin_mul_overflow(a, b, &out);
  } else if (op == Op::power) {
    return power(a, b);
  } else {
    if (b == 0) stop("division by zero");
    if (op == Op::divide) return Value::real(static_cast<double>(a) / static_cast<double>(b));
    return op == Op::modulo ? modulo(a, b) : floor_divide(a, b);
  }
  if (overflow) beyond();
  return Value::integer(out);
}

double real_modulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return rest == 0 ? std::copysign(0.0, b) : rest;
}

/// Python divides what remains after its modulo, and corrects the result's last place.
double real_floor_divide(double a, double b) {
  const double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

Value compute_real(Op op, double a, double b) {
  if (op == Op::add) return Value::real(a + b);
  if (op == Op::subtract) return Value::real(a - b);
  if (op == Op::multiply) return Value::real(a * b);
  if (op == Op::power) {
    if (a == 0 && b < 0) stop("0.0 to a negative power");
    const double out = std::pow(a, b);
    if (std::isnan(out) && !std::isnan(a) && !std::isnan(b))
      stop("a negative number to the power {}", b);
    if (std::isinf(out) && !std::isinf(a) && !std::isinf(b)) stop("{} ** {} is too large", a, b);
    return Value::real(out);
  }
  if (b == 0) stop("division by zero");
  if (op == Op::divide) return Value::real(a / b);
  return Value::real(op == Op::modulo ? real_modulo(a, b) : real_floor_divide(a, b));
}

}  // namespace

std::string format_int(Int value, int base) {
  std::string out;
  Unsigned rest =
      value < 0 ? Unsigned{0} - static_cast<Unsigned>(value) : static_cast<Unsigned>(value);
  do {
    out.push_back("0123456789abcdef"[static_cast<int>(rest % static_cast<Unsigned>(base))]);
    rest /= static_cast<Unsigned>(base);
  } while (rest != 0);
  if (value < 0) out.push_back('-');
  std::reverse(out.begin(), out.end());
  return out;
}

std::string format_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer{};
  const auto scientific = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                        std::chars_format::scientific);
  const std::string_view text(buffer.data(),
                              static_cast<std::size_t>(scientific.ptr - buffer.data()));
  const int exponent = std::atoi(std::string(text.substr(text.find('e') + 1)).c_str());
  if (exponent < -4 || exponent >= 16) return std::string(text);
  std::array<char, 64> plain{};
  const auto end =
      std::to_chars(plain.data(), plain.data() + plain.size(), value, std::chars_format::fixed);
  std::string out(plain.data(), end.ptr);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::optional<Int> parse_int(std::string_view text, int base) {
  text = without_spaces(text);
  const bool negative = !text.empty() && text[0] == '-';
  if (negative || (!text.empty() && text[0] == '+')) text.remove_prefix(1);
  const int prefixed = prefix_base(text);
  if (base == 0) base = prefixed;
  if (base != 10 && base == prefixed) {
    text.remove_prefix(2);
    if (!text.empty() && text[0] == '_') text.remove_prefix(1);
  }
  std::string digits;
  if (text.empty() || !drop_underscores(text, digits)) return std::nullopt;
  Int out = 0;
  for (const char c : digits) {
    const int digit = digit_value(c);
    if (digit >= base) return std::nullopt;
    if (out > (kIntMax - digit) / base) beyond();
    out = out * base + digit;
  }
  return negative ? -out : out;
}

std::optional<double> parse_real(std::string_view text) {
  text = without_spaces(text);
  std::string digits;
  if (!drop_underscores(text, digits)) return std::nullopt;
  const bool negative = !digits.empty() && digits[0] == '-';
  if (negative || (!digits.empty() && digits[0] == '+')) digits.erase(0, 1);
  if (digits.empty() || digits[0] == '-' || digits[0] == '+') return std::nullopt;
  double out = 0;
  const char* last = digits.data() + digits.size();
  const auto [end, error] = std::from_chars(digits.data(), last, out);
  if (end != last || error == std::errc::invalid_argument) return std::nullopt;
  if (digits.find('(') != std::string::npos) return std::nullopt;  // from_chars also reads nan(…)
  if (error == std::errc::result_out_of_range) out = std::strtod(digits.c_str(), nullptr);
  return negative ? -out : out;
}

Int truncate_real(double value) {
  if (std::isnan(value) || std::isinf(value))
    stop("cannot make an integer of {}", format_real(value));
  if (std::fabs(value) >= 1.7e38) beyond();
  return static_cast<Int>(value);
}

Value compute(Op op, const Value& a, const Value& b) {
  Value out = a.is_integral() && b.is_integral() ? compute_int(op, a.integer(), b.integer())
                                                 : compute_real(op, a.real(), b.real());
  return out.mark_user(a.user() || b.user());
}

double round_to(double value, int places) {
  if (!std::isfinite(value) || places > 300) return value;
  if (places >= 0) {
    std::array<char, 700> buffer{};
    std::snprintf(buffer.data(), buffer.size(), "%.*f", places, value);
    return std::strtod(buffer.data(), nullptr);  // exact digits, ties to even: as Python does it
  }
  if (places < -308) return std::copysign(0.0, value);
  const double unit = std::pow(10.0, -places);
  return std::nearbyint(value / unit) * unit;
}

}  // namespace stepless::jinja
