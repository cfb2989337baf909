#include "format/pack.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

namespace stepless {
namespace {

// Eight elements are `bits` whole bytes, whatever the width: they go through one 64-bit word.
static_assert(std::endian::native == std::endian::little);

void pack_some(const std::uint8_t* codes, int count, int bits, void* packed) {
  std::uint64_t word = 0;
  for (int i = 0; i < count; ++i) word |= static_cast<std::uint64_t>(codes[i]) << (i * bits);
  std::memcpy(packed, &word, static_cast<std::size_t>((count * bits + 7) / 8));
}

void unpack_some(const void* packed, int count, int bits, std::uint8_t* codes) {
  std::uint64_t word = 0;
  std::memcpy(&word, packed, static_cast<std::size_t>((count * bits + 7) / 8));
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  for (int i = 0; i < count; ++i) codes[i] = static_cast<std::uint8_t>(word >> (i * bits) & mask);
}

constexpr std::uint64_t kOdd8 = 0xff00ff00ff00ff00u, kOdd16 = 0xffff0000ffff0000u,
                        kOdd32 = 0xffffffff00000000u;

// Eight bytes of `bits` bits each closed up to 8 * bits bits: neighbours first, then pairs, then
// halves. Three steps instead of eight.
std::uint64_t close_up(std::uint64_t x, int bits) {
  const int gap = 8 - bits;
  x = (x & ~kOdd8) | (x & kOdd8) >> gap;
  x = (x & ~kOdd16) | (x & kOdd16) >> 2 * gap;
  return (x & ~kOdd32) | (x & kOdd32) >> 4 * gap;
}

#ifndef NDEBUG
bool fits(const std::uint8_t* codes, std::int64_t k, int bits) {
  return std::all_of(codes, codes + k, [&](std::uint8_t code) { return code >> bits == 0; });
}
#endif

}  // namespace

void pack_row(const std::uint8_t* codes, std::int64_t k, int bits, void* packed) {
  assert(bits >= 1 && bits <= 8 && k >= 0 && fits(codes, k, bits));
  auto* out = static_cast<std::uint8_t*>(packed);
  std::int64_t i = 0;
  // Whole words are stored while they end inside the row: the next one writes over the excess.
  const std::int64_t bytes = k / 8 * bits;
  for (; i / 8 * bits + 8 <= bytes; i += 8, out += bits) {
    std::uint64_t word = 0;
    std::memcpy(&word, codes + i, 8);
    word = close_up(word, bits);
    std::memcpy(out, &word, 8);
  }
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
