// How a group of activations becomes bytes: one rule for every row of the order int8_groups, so
// that their bits agree. Static only: nothing here is exported.
#pragma once
#include "kernels/args.hpp"

namespace stepless::kernels {

/// How a group of x becomes integers, and back: what its largest number decides.
struct GroupScale {
  float to_integers, from_integers;
};

/// `largest`: the bits of the float32 of largest magnitude, without its sign. It becomes 127. Below
/// 2^-100 precision ends, so that no quotient leaves the range of float32. With NaN or infinity the
/// scale is NaN, whatever the bytes are.
static inline GroupScale byte_scale(uint32_t largest) {
  if (largest >= 0x7F800000) return {0, __builtin_bit_cast(float, 0x7FC00000u)};
  const float most = __builtin_bit_cast(float, largest > 27u << 23 ? largest : 27u << 23);
  return {127 / most, most / 127};
}

}  // namespace stepless::kernels
