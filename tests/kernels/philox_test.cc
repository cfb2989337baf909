#include "kernels/philox.hpp"

#include <gtest/gtest.h>

#include <set>

namespace stepless::kernels {
namespace {

struct KnownAnswer {
  Philox counter;
  std::uint32_t key0, key1;
  Philox result;
};

// Random123's known answers for philox4x32-10.
constexpr KnownAnswer kKnownAnswers[] = {
    {{{0, 0, 0, 0}}, 0, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
    {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
     0xffffffff,
     0xffffffff,
     {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
    {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
     0xa4093822,
     0x299f31d0,
     {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
};

TEST(Philox, KnownAnswers) {
  for (const KnownAnswer& known : kKnownAnswers) {
    const Philox result = philox(known.counter, known.key0, known.key1);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(result.word[i], known.result.word[i]) << i;
  }
}

TEST(Philox, UniformReadsSeedPositionAndDraw) {
  std::set<double> seen;
  for (const std::uint64_t seed : {0ull, 1ull, 1ull << 32, ~0ull})
    for (const std::int64_t position : {std::int64_t{0}, std::int64_t{1}, std::int64_t{1} << 32})
      for (const std::uint32_t draw : {0u, 1u}) seen.insert(philox_uniform(seed, position, draw));
  EXPECT_EQ(seen.size(), 24u);
}

TEST(Philox, UniformCoversTheUnitInterval) {
  double sum = 0, least = 1, most = 0;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    const double u = philox_uniform(7, i, 0);
    sum += u;
    least = u < least ? u : least;
    most = u > most ? u : most;
  }
  EXPECT_GE(least, 0.0);
  EXPECT_LT(most, 1.0);
  EXPECT_LT(least, 1e-3);
  EXPECT_GT(most, 1 - 1e-3);
  EXPECT_NEAR(sum / kDraws, 0.5, 0.01);  // standard deviation 0.002
}

}  // namespace
}  // namespace stepless::kernels
