// Any changed bit, length or border between pieces gives another fingerprint; nothing else does.
#include "base/fingerprint.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "tests/support/random.hpp"

namespace stepless::test {
namespace {

std::string print_of(const std::vector<std::uint8_t>& bytes) {
  Fingerprint print;
  print.add(bytes.data(), static_cast<std::int64_t>(bytes.size()));
  return print.text();
}

TEST(Fingerprint, EveryBitAndEveryLengthCounts) {
  Random random(3);
  std::set<std::string> seen;
  std::size_t tried = 0;
  for (std::size_t length = 0; length < 34; ++length) {
    std::vector<std::uint8_t> bytes(length);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.below(256));
    seen.insert(print_of(bytes)), ++tried;
    EXPECT_EQ(print_of(bytes), print_of(bytes));
    for (std::size_t bit = 0; bit < length * 8; ++bit) {
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
      seen.insert(print_of(bytes)), ++tried;
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    }
    seen.insert(print_of(std::vector<std::uint8_t>(length + 100))), ++tried;  // zeros
  }
  EXPECT_EQ(seen.size(), tried);
}

TEST(Fingerprint, TheOrderAndTheBordersOfPiecesCount) {
  const auto of = [](std::initializer_list<std::string> pieces) {
    Fingerprint print;
    for (const std::string& piece : pieces) print.add(piece);
    return print.text();
  };
  const std::set<std::string> all = {
      of({}),      of({""}),        of({"", ""}),    of({"ab", "c"}),       of({"a", "bc"}),
      of({"abc"}), of({"c", "ab"}), of({"abc", ""}), of({"12345678", "9"}), of({"123456789"})};
  EXPECT_EQ(all.size(), 10u);
  EXPECT_EQ(of({"abc"}).size(), 32u);
}

/// The value is in files: it may not change from build to build or machine to machine. This one was
/// computed with integers of Python.
TEST(Fingerprint, IsTheSameEverywhere) {
  Fingerprint print;
  print.add("stepless");
  print.add("prompt cache file");
  EXPECT_EQ(print.text(), "e75c29cb0d1e4748827a89f5a84878a8");
}

}  // namespace
}  // namespace stepless::test
