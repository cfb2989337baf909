// Sizes multiply and add through here: a product that leaves std::int64_t is an Error, never a
// small allocation.
#pragma once
#include <cassert>
#include <cstdint>
#include <string_view>

#include "base/error.hpp"

namespace stepless {

/// a*b of two counts. Throws Error: invalid_argument when one is negative, exhausted when the
/// product does not fit.
inline std::int64_t checked_mul(std::int64_t a, std::int64_t b, std::string_view what) {
  if (a < 0 || b < 0)
    fail(ErrorCode::invalid_argument, "{}: {} x {}; counts are not negative", what, a, b);
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product))
    fail(ErrorCode::exhausted, "{}: {} x {} does not fit in 63 bits", what, a, b);
  return product;
}

/// a+b of two counts; errors as checked_mul.
inline std::int64_t checked_add(std::int64_t a, std::int64_t b, std::string_view what) {
  if (a < 0 || b < 0)
    fail(ErrorCode::invalid_argument, "{}: {} + {}; counts are not negative", what, a, b);
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum))
    fail(ErrorCode::exhausted, "{}: {} + {} does not fit in 63 bits", what, a, b);
  return sum;
}

/// ceil(a/b) for a >= 0, b > 0; cannot overflow.
constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  assert(a >= 0 && b > 0);
  return a / b + (a % b != 0 ? 1 : 0);
}

/// The least multiple of `step` that is >= a; the caller knows that it fits.
constexpr std::int64_t round_up(std::int64_t a, std::int64_t step) {
  return divide_up(a, step) * step;
}

}  // namespace stepless
