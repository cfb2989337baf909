#include "base/fingerprint.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace stepless {
namespace {

std::uint64_t little_endian(std::uint64_t word) {
  return std::endian::native == std::endian::little ? word : __builtin_bswap64(word);
}

/// Every bit of the input reaches every bit of the result: multiplications by odd numbers and
/// shifts, each of which can be undone, so that no two words meet.
std::uint64_t spread(std::uint64_t x) {
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
  x = (x ^ x >> 29) * 0xa0761d6478bd642fu;
  return x ^ x >> 32;
}

}  // namespace

// Two chains, so that the processor has two multiplications under way.
void Fingerprint::mix(std::uint64_t word) {
  a_ = std::rotl(a_ ^ word, 27) * 0x9fb21c651e98df25u;
  b_ = (std::rotl(b_, 31) + word) * 0xd1342543de82ef95u;
}

void Fingerprint::add(const void* data, std::int64_t bytes) {
  const char* at = static_cast<const char*>(data);
  std::int64_t left = bytes;
  std::uint64_t word = 0;
  for (; left >= 8; left -= 8, at += 8) {
    std::memcpy(&word, at, 8);
    mix(little_endian(word));
  }
  word = 0;
  if (left > 0) std::memcpy(&word, at, static_cast<std::size_t>(left));
  mix(little_endian(word));
  mix(static_cast<std::uint64_t>(bytes));
}

std::string Fingerprint::text() const {
  return fmt::format("{:016x}{:016x}", spread(a_ ^ std::rotl(b_, 17)), spread(b_));
}

}  // namespace stepless
