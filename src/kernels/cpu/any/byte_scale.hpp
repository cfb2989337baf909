// How a group of activations becomes integers: one rule for every row of the orders int8_groups and
// avx512_i16, so that their bits agree. Static only: nothing here is exported.
#pragma once
#include "kernels/args.hpp"

namespace stepless::kernels {

/// How a group of x becomes integers, and back: what its largest number decides.
struct GroupScale {
  float to_integers, from_integers;
};

/// Bytes. `largest`: the bits of the float32 of largest magnitude, without its sign. It becomes
/// 127. Below 2^-100 precision ends, so that no quotient leaves the range of float32. With NaN or
/// infinity the scale is NaN, whatever the bytes are.
static inline GroupScale byte_scale(uint32_t largest) {
  if (largest >= 0x7F800000) return {0, __builtin_bit_cast(float, 0x7FC00000u)};
  const float most = __builtin_bit_cast(float, largest > 27u << 23 ? largest : 27u << 23);
  return {127 / most, most / 127};
}

/// Two planes of bytes. The exponent, as float32 stores it, of a group's largest number; one more
/// where that would give an integer above 32639, which has no planes. Below 2^-103 (absolute)
/// precision ends, so that every power of two made of it is a normal number. With NaN or infinity
/// (255 and more) the scale is NaN, whatever the integers are.
static inline GroupScale word_scale(uint32_t largest) {
  const uint32_t sum = (largest + 0x10000) >> 23, exponent = sum > 24 ? sum : 24;
  if (exponent >= 255) return {0, __builtin_bit_cast(float, 0x7FC00000u)};
  return {__builtin_bit_cast(float, (268 - exponent) << 23),
          __builtin_bit_cast(float, (exponent - 14) << 23)};
}

}  // namespace stepless::kernels
