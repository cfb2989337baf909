#include "format/pack.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace stepless {
namespace {

class Pack : public ::testing::TestWithParam<int> {};

TEST_P(Pack, ElementIHasTheBitsTheContractNames) {
  const int bits = GetParam();
  std::mt19937 random(static_cast<unsigned>(bits));
  for (const std::int64_t k : {0, 1, 7, 8, 9, 16, 31, 32, 64, 96, 257}) {
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(k));
    for (std::uint8_t& code : codes)
      code = static_cast<std::uint8_t>(random() & ((1u << bits) - 1));
    const std::size_t bytes = static_cast<std::size_t>((k * bits + 7) / 8);
    for (std::size_t offset = 0; offset < 3; ++offset) {
      std::vector<std::uint8_t> packed(bytes + offset + 1, 0xa5);
      pack_row(codes.data(), k, bits, packed.data() + offset);
      EXPECT_EQ(packed.back(), 0xa5);
      for (std::int64_t i = 0; i < k; ++i)
        for (int b = 0; b < bits; ++b) {
          const std::size_t at = static_cast<std::size_t>(i * bits + b);
          ASSERT_EQ(packed[offset + at / 8] >> (at % 8) & 1,
                    codes[static_cast<std::size_t>(i)] >> b & 1);
        }
      std::vector<std::uint8_t> back(codes.size() + 1, 0x5a);
      unpack_row(packed.data() + offset, k, bits, back.data());
      EXPECT_EQ(back.back(), 0x5a);
      back.pop_back();
      EXPECT_EQ(back, codes);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, Pack, ::testing::Range(1, 9), ::testing::PrintToStringParamName());

TEST(PackExample, ThreeBits) {
  const std::uint8_t codes[8] = {1, 2, 3, 4, 5, 6, 7, 0};
  std::uint8_t packed[3];
  pack_row(codes, 8, 3, packed);
  EXPECT_EQ(packed[0], 0b11'010'001);
  EXPECT_EQ(packed[1], 0b0'101'100'0);
  EXPECT_EQ(packed[2], 0b000'111'11);
}

}  // namespace
}  // namespace stepless
