#include "tests/oracle/number.hpp"

#include <cmath>
#include <limits>

namespace stepless::oracle {
namespace {

struct Layout {
  int digits;    // of the significand, the implicit one included
  int least;     // exponent of the smallest normal number
  int greatest;  // exponent of the largest finite number
};

Layout layout(DType type) {
  if (type == DType::f32) return {24, -126, 127};
  if (type == DType::f16) return {11, -14, 15};
  return {8, -126, 127};
}

}  // namespace

Long add(double a, double b) {
  if (std::fabs(a) < std::fabs(b)) return add(b, a);
  const double sum = a + b;
  return {sum, std::isfinite(sum) ? b - (sum - a) : 0};
}

std::int64_t element_bytes(DType type) {
  return type == DType::complex64 ? 8 : type == DType::f32 ? 4 : 2;
}

double value(const std::uint8_t* at, DType type) {
  std::uint64_t code = 0;
  for (int i = 0; i < element_bytes(type); ++i) code |= std::uint64_t{at[i]} << (8 * i);
  const Layout l = layout(type);
  const int fraction_bits = l.digits - 1, width = static_cast<int>(8 * element_bytes(type));
  const int exponent_bits = width - 1 - fraction_bits;
  const double fraction = static_cast<double>(code & ((1ull << fraction_bits) - 1));
  const int exponent = static_cast<int>((code >> fraction_bits) & ((1ull << exponent_bits) - 1));
  double size = 0;
  if (exponent == (1 << exponent_bits) - 1)
    size = fraction == 0 ? std::numeric_limits<double>::infinity()
                         : std::numeric_limits<double>::quiet_NaN();
  else if (exponent == 0)
    size = std::ldexp(fraction, l.least - fraction_bits);
  else
    size = std::ldexp(fraction + std::ldexp(1.0, fraction_bits),
                      exponent - 1 + l.least - fraction_bits);
  return (code >> (width - 1)) != 0 ? -size : size;
}

double rounded(Long number, DType type) {
  if (!std::isfinite(number.high) || number.high == 0) return number.high;
  if (number.high < 0) return -rounded(Long{-number.high, -number.low}, type);
  const Layout l = layout(type);
  const int exponent = std::max(std::ilogb(number.high), l.least);
  const double step = std::ldexp(1.0, exponent - (l.digits - 1));
  const double steps = number.high / step;  // exact: a power of two
  double whole = std::nearbyint(steps);     // ties to even
  const bool tie = std::fabs(steps - std::floor(steps) - 0.5) == 0;
  if (tie && number.low != 0) whole = std::floor(steps) + (number.low > 0 ? 1 : 0);
  const double result = whole * step;
  const double largest = std::ldexp(2.0 - std::ldexp(1.0, 1 - l.digits), l.greatest);
  return result > largest ? std::numeric_limits<double>::infinity() : result;
}

double rounded(double number, DType type) { return rounded(Long{number, 0}, type); }

void store(double number, DType type, std::uint8_t* at) {
  const Layout l = layout(type);
  const int fraction_bits = l.digits - 1, width = static_cast<int>(8 * element_bytes(type));
  const double wanted = rounded(number, type), size = std::fabs(wanted);
  const std::uint64_t top = ((1ull << (width - 1 - fraction_bits)) - 1) << fraction_bits;
  std::uint64_t code = 0;
  if (std::isnan(wanted)) {
    code = top | (1ull << (fraction_bits - 1));
  } else if (std::isinf(wanted)) {
    code = top;
  } else if (size > 0) {
    const int exponent = std::max(std::ilogb(size), l.least);
    code = static_cast<std::uint64_t>(std::ldexp(size, fraction_bits - exponent)) +
           (static_cast<std::uint64_t>(exponent - l.least) << fraction_bits);
  }
  if (std::signbit(wanted)) code |= 1ull << (width - 1);
  for (int i = 0; i < element_bytes(type); ++i) at[i] = static_cast<std::uint8_t>(code >> (8 * i));
}

std::vector<double> values(std::span<const std::uint8_t> bytes, DType type) {
  std::vector<double> numbers;
  for (std::size_t i = 0; i < bytes.size(); i += static_cast<std::size_t>(element_bytes(type)))
    numbers.push_back(value(&bytes[i], type));
  return numbers;
}

std::vector<std::uint8_t> bytes(std::span<const double> numbers, DType type) {
  const auto size = static_cast<std::size_t>(element_bytes(type));
  std::vector<std::uint8_t> all(numbers.size() * size);
  for (std::size_t i = 0; i < numbers.size(); ++i) store(numbers[i], type, &all[i * size]);
  return all;
}

DType promote(DType a, DType b) { return a == b ? a : DType::f32; }

double e2m1(unsigned code) {
  const int exponent = static_cast<int>(code >> 1 & 3u);
  const double fraction = (code & 1u) / 2.0;
  const double size = exponent == 0 ? fraction : std::ldexp(1 + fraction, exponent - 1);
  return (code & 8u) != 0 ? -size : size;
}

double e4m3(unsigned code) {
  const int exponent = static_cast<int>(code >> 3 & 15u);
  const double fraction = (code & 7u) / 8.0;
  double size = exponent == 0 ? std::ldexp(fraction, -6) : std::ldexp(1 + fraction, exponent - 7);
  if ((code & 127u) == 127u) size = std::numeric_limits<double>::quiet_NaN();
  return (code & 128u) != 0 ? -size : size;
}

double e8m0(unsigned code) {
  if (code == 255) return std::numeric_limits<double>::quiet_NaN();
  return std::ldexp(1.0, static_cast<int>(code) - 127);
}

}  // namespace stepless::oracle
