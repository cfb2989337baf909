// Packed codes: a row is one LSB-first bit stream in little-endian bytes; element i has bits
// [i*bits, (i+1)*bits).
//   3 bits:   byte 0   c2 c2 b2..0 a2..0      byte 1   f0 e2..0 d2..0 c2 ...
#pragma once
#include <cstdint>

namespace stepless {

/// Codes below 2^bits, bits 1..8, into ceil(k*bits/8) bytes at any address; spare bits of the last
/// byte become 0.
void pack_row(const std::uint8_t* codes, std::int64_t k, int bits, void* packed);

/// The inverse; reads ceil(k*bits/8) bytes at any address and no more.
void unpack_row(const void* packed, std::int64_t k, int bits, std::uint8_t* codes);

}  // namespace stepless
