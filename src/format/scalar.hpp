// The small floating formats of the fp modes, decoded by table and encoded to nearest even,
// saturating (contract.md, 2, 3).
//   E2M1  s eem        0 .5 1 1.5 2 3 4 6        no infinity, no NaN
//   E4M3  s eeee mmm   "FN": up to 448, 0x7f and 0xff are NaN, no infinity
//   E8M0  eeeeeeee     2^(byte - 127), 0xff is NaN
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace stepless {

inline constexpr float kE2M1Max = 6.0f;
inline constexpr float kE4M3Max = 448.0f;

inline constexpr std::array<float, 16> kE2M1 = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,
                                                4.0f,  6.0f,  -0.0f, -0.5f, -1.0f, -1.5f,
                                                -2.0f, -3.0f, -4.0f, -6.0f};

inline constexpr std::array<float, 256> kE4M3 = [] {
  std::array<float, 256> table{};
  for (std::uint32_t code = 0; code < 128; ++code) {
    const std::uint32_t exponent = code >> 3, mantissa = code & 7;
    float value = 0;
    if (code == 0x7f)
      value = std::numeric_limits<float>::quiet_NaN();
    else if (exponent == 0)
      value = static_cast<float>(mantissa) * 0x1p-9f;
    else
      value = std::bit_cast<float>((exponent + 120) << 23 | mantissa << 20);
    table[code] = value;
    table[code + 128] = -value;
  }
  return table;
}();

constexpr bool is_e4m3_nan(std::uint8_t code) { return (code & 0x7f) == 0x7f; }
constexpr bool is_e8m0_nan(std::uint8_t code) { return code == 0xff; }

/// 2^(code - 127), a subnormal for code 0; NaN for 0xff.
constexpr float e8m0_value(std::uint8_t code) {
  if (is_e8m0_nan(code)) return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(code == 0 ? 0x00400000u : static_cast<std::uint32_t>(code) << 23);
}

/// The nearest E2M1 code of a number (not NaN); the sign is kept, also of zero.
inline std::uint8_t encode_e2m1(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const float a = std::bit_cast<float>(bits & 0x7fffffffu);
  // Half-way points; a tie goes to the even code, so every second one is met by equality.
  const int code = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) +
                   (a >= 3.5f) + (a > 5.0f);
  return static_cast<std::uint8_t>(static_cast<std::uint32_t>(code) | (bits >> 28 & 8u));
}

/// The nearest E4M3 code of a number (not NaN); the sign is kept, also of zero.
inline std::uint8_t encode_e4m3(float value) {
  const std::uint32_t sign = std::bit_cast<std::uint32_t>(value) >> 24 & 0x80u;
  const float size = std::fabs(value);
  const float a = size < kE4M3Max ? size : kE4M3Max;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(a);
  // Subnormals are multiples of 2^-9, the step of floats from 2^14 on: the adder rounds. Both ways
  // are computed, so that a loop of this has no branch.
  const std::uint32_t low =
      std::bit_cast<std::uint32_t>(a + 0x1p14f) - std::bit_cast<std::uint32_t>(0x1p14f);
  const std::uint32_t high = (bits + 0x7ffffu + (bits >> 20 & 1u) - (120u << 23)) >> 20;
  return static_cast<std::uint8_t>((a < 0x1p-6f ? low : high) | sign);
}

/// The code of the least power of two >= value, within 2^-127 .. 2^127. value: finite, not
/// negative; 0 gives code 0.
inline std::uint8_t encode_e8m0_up(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  // A float above 2^e has the exponent of 2^e and some mantissa: carry into the exponent.
  // Subnormals: 2^-127 is the mantissa's top bit.
  if (bits <= 0x00400000u) return 0;
  return static_cast<std::uint8_t>(std::min((bits + 0x7fffffu) >> 23, 254u));
}

}  // namespace stepless
