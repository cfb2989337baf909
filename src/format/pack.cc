#include "format/pack.hpp"

#include <bit>
#include <cassert>
#include <cstring>

namespace stepless {
namespace {

// Eight elements are `bits` whole bytes, whatever the width: they go through one 64-bit word.
static_assert(std::endian::native == std::endian::little);

void pack_some(const std::uint8_t* codes, int count, int bits, void* packed) {
  std::uint64_t word = 0;
  for (int i = 0; i < count; ++i) {
    assert(codes[i] < 1 << bits);
    word |= static_cast<std::uint64_t>(codes[i]) << (i * bits);
  }
  std::memcpy(packed, &word, static_cast<std::size_t>((count * bits + 7) / 8));
}

void unpack_some(const void* packed, int count, int bits, std::uint8_t* codes) {
  std::uint64_t word = 0;
  std::memcpy(&word, packed, static_cast<std::size_t>((count * bits + 7) / 8));
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  for (int i = 0; i < count; ++i) codes[i] = static_cast<std::uint8_t>(word >> (i * bits) & mask);
}

}  // namespace

void pack_row(const std::uint8_t* codes, std::int64_t k, int bits, void* packed) {
  assert(bits >= 1 && bits <= 8 && k >= 0);
  auto* out = static_cast<std::uint8_t*>(packed);
  std::int64_t i = 0;
  for (; i + 8 <= k; i += 8, out += bits) pack_some(codes + i, 8, bits, out);
  if (i < k) pack_some(codes + i, static_cast<int>(k - i), bits, out);
}

void unpack_row(const void* packed, std::int64_t k, int bits, std::uint8_t* codes) {
  assert(bits >= 1 && bits <= 8 && k >= 0);
  const auto* in = static_cast<const std::uint8_t*>(packed);
  if (bits == 8) {
    if (k > 0) std::memcpy(codes, in, static_cast<std::size_t>(k));
    return;
  }
  std::int64_t i = 0;
  for (; i + 8 <= k; i += 8, in += bits) unpack_some(in, 8, bits, codes + i);
  if (i < k) unpack_some(in, static_cast<int>(k - i), bits, codes + i);
}

}  // namespace stepless
