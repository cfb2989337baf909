// The small floating formats, held against their definitions and against exhaustive search for the
// nearest code.
#include "format/scalar.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <span>
#include <vector>

namespace stepless {
namespace {

TEST(Scalar, E2M1IsTheTableOfTheContract) {
  const float want[] = {0, .5, 1, 1.5, 2, 3, 4, 6};
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(kE2M1[i], want[i]);
    EXPECT_EQ(kE2M1[i + 8], -want[i]);
    EXPECT_TRUE(std::signbit(kE2M1[i + 8]));
  }
}

TEST(Scalar, E4M3IsFN) {
  for (int code = 0; code < 256; ++code) {
    const float value = kE4M3[static_cast<std::size_t>(code)];
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    if ((code & 127) == 127) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_TRUE(is_e4m3_nan(static_cast<std::uint8_t>(code)));
      continue;
    }
    EXPECT_FALSE(is_e4m3_nan(static_cast<std::uint8_t>(code)));
    const double size =
        exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(1 + mantissa / 8.0, exponent - 7);
    EXPECT_EQ(static_cast<double>(value), code < 128 ? size : -size);
    EXPECT_EQ(std::signbit(value), code >= 128);
  }
  EXPECT_EQ(kE4M3[0x7e], 448.0f);
}

TEST(Scalar, E8M0IsAPowerOfTwo) {
  for (int code = 0; code < 255; ++code)
    EXPECT_EQ(static_cast<double>(e8m0_value(static_cast<std::uint8_t>(code))),
              std::ldexp(1, code - 127));
  EXPECT_TRUE(std::isnan(e8m0_value(255)));
  EXPECT_TRUE(is_e8m0_nan(255));
  EXPECT_FALSE(is_e8m0_nan(254));
}

// The nearest of `values` (ascending, of codes 0..) to |x|; ties to the even code; beyond the last
// saturates.
std::uint32_t nearest(std::span<const float> values, double x) {
  x = std::min(std::fabs(x), static_cast<double>(values.back()));
  std::uint32_t best = 0;
  double least = INFINITY;
  for (std::uint32_t code = 0; code < values.size(); ++code) {
    const double distance = std::fabs(x - static_cast<double>(values[code]));
    if (distance < least || (distance == least && code % 2 == 0)) best = code, least = distance;
  }
  return best;
}

template <class Encode>
void expect_nearest(std::span<const float> values, std::uint32_t sign_bit, Encode encode) {
  std::vector<float> tries = {0.0f, 1e-45f, 1e-40f, 1e-10f, values.back() * 1.01f, 1e30f, INFINITY};
  for (std::size_t i = 0; i + 1 < values.size(); ++i) {
    const float middle = (values[i] + values[i + 1]) / 2;  // exact in f32
    for (const float at : {values[i], values[i + 1], middle}) {
      tries.push_back(at);
      tries.push_back(std::nextafterf(at, 0.0f));
      tries.push_back(std::nextafterf(at, INFINITY));
    }
  }
  std::mt19937 random(3);
  std::uniform_real_distribution<float> exponent(-14, 10);
  for (int i = 0; i < 20000; ++i) tries.push_back(std::exp2(exponent(random)));
  for (const float x : tries) {
    const std::uint32_t want = std::isinf(x) ? static_cast<std::uint32_t>(values.size()) - 1
                                             : nearest(values, static_cast<double>(x));
    ASSERT_EQ(encode(x), want) << x;
    ASSERT_EQ(encode(-x), want | sign_bit) << -x;
  }
}

TEST(Scalar, EncodesToTheNearestE2M1) { expect_nearest(std::span(kE2M1).first(8), 8, encode_e2m1); }

TEST(Scalar, EncodesToTheNearestE4M3) {
  expect_nearest(std::span(kE4M3).first(127), 128, encode_e4m3);
}

TEST(Scalar, E8M0RoundsUp) {
  EXPECT_EQ(encode_e8m0_up(0.0f), 0);
  EXPECT_EQ(encode_e8m0_up(1e-45f), 0);
  EXPECT_EQ(encode_e8m0_up(3e38f), 254);  // clamped: 2^128 is no code
  for (int e = -126; e <= 127; ++e) {
    const float power = std::ldexp(1.0f, e);
    EXPECT_EQ(encode_e8m0_up(power), e + 127);
    EXPECT_EQ(encode_e8m0_up(std::nextafterf(power, 0.0f)), e + 127);
    EXPECT_EQ(encode_e8m0_up(std::nextafterf(power, INFINITY)), std::min(e + 128, 254));
  }
  EXPECT_EQ(encode_e8m0_up(0x1p-127f), 0);
  EXPECT_EQ(encode_e8m0_up(std::nextafterf(0x1p-127f, 1.0f)), 1);
}

}  // namespace
}  // namespace stepless
