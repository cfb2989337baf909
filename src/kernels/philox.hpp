// Philox4x32-10 (Salmon et al., SC 2011): a counter-based generator. Random numbers are a pure
// function of seed, position and draw, so a draw ignores who else is in the batch. Static only;
// also fit for device code.
#pragma once
#include <cstdint>

namespace stepless::kernels {

struct Philox {
  std::uint32_t word[4];
};

static constexpr Philox philox(Philox counter, std::uint32_t key0, std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xd2511f53} * counter.word[0];
    const std::uint64_t b = std::uint64_t{0xcd9e8d57} * counter.word[2];
    counter = {{static_cast<std::uint32_t>(b >> 32) ^ counter.word[1] ^ key0,
                static_cast<std::uint32_t>(b),
                static_cast<std::uint32_t>(a >> 32) ^ counter.word[3] ^ key1,
                static_cast<std::uint32_t>(a)}};
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  return counter;
}

/// Uniform in [0, 1), 53 bits: counter (position, draw, 0), key seed.
static constexpr double philox_uniform(std::uint64_t seed, std::int64_t position,
                                       std::uint32_t draw) {
  const std::uint64_t at = static_cast<std::uint64_t>(position);
  const Philox bits =
      philox({{static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(at >> 32), draw, 0}},
             static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
  const std::uint64_t wide = std::uint64_t{bits.word[1]} << 32 | bits.word[0];
  return static_cast<double>(wide >> 11) * 0x1p-53;
}

}  // namespace stepless::kernels
