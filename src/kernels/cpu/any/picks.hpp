// Bytes that a shuffle within sixteen picks for codes of any width. Static only: nothing here is
// exported.
#pragma once
#include "kernels/args.hpp"

namespace stepless::kernels {

/// Which bytes of a load hold codes 4 j to 4 j + 3 of a row, for four j's from kFirst on; the load
/// begins with byte kFrom of 32 codes.
template <int kBits, int kFirst, int kFrom>
struct Picks {
  alignas(16) uint8_t of[16] = {};
  constexpr Picks() {
    for (int i = 0; i < 16; ++i) {
      const int bit = 4 * kBits * (kFirst + i / 4);
      const int byte = bit / 8 + i % 4;
      of[i] = static_cast<uint8_t>(8 * byte < bit + 4 * kBits ? byte - kFrom : 0x80);
    }
  }
};

}  // namespace stepless::kernels
