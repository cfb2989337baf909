// The fuzz targets over their committed corpora, without libFuzzer: they compile, run and hold
// their properties on every compiler; and a property that is broken is noticed.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "fuzz/targets.hpp"
#include "tests/support/paths.hpp"

namespace stepless::test {
namespace {

struct Target {
  const char* name;
  void (*run)(fuzz::Input);
};

constexpr Target kTargets[] = {
    {"safetensors", fuzz::safetensors},   {"config", fuzz::config},
    {"tokenizer", fuzz::tokenizer},       {"encode", fuzz::encode},
    {"prompt_cache", fuzz::prompt_cache}, {"chat_template", fuzz::chat_template}};

class Replay : public ::testing::TestWithParam<Target> {};

void run(const Target& target, const std::string& bytes) {
  target.run({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
}

TEST_P(Replay, TheCommittedCorpus) {
  const std::string folder = std::string(STEPLESS_SOURCE_DIR) + "/fuzz/corpus/" + GetParam().name;
  int count = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    std::ostringstream bytes;
    bytes << std::ifstream(file.path(), std::ios::binary).rdbuf();
    EXPECT_NO_THROW(run(GetParam(), bytes.str())) << file.path();
    ++count;
  }
  EXPECT_GE(count, 5) << folder;
}

TEST_P(Replay, TheShortestInputs) {
  EXPECT_NO_THROW(run(GetParam(), ""));
  for (int byte = 0; byte < 256; ++byte)
    EXPECT_NO_THROW(run(GetParam(), std::string(1, static_cast<char>(byte)))) << byte;
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Replay, ::testing::ValuesIn(kTargets),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(Require, ThrowsWhenAPropertyIsBroken) {
  EXPECT_NO_THROW(fuzz::require(true, "one is one"));
  EXPECT_THROW(fuzz::require(false, "one is two"), std::logic_error);
}

TEST(Halves, AreCutAtTheFirstNul) {
  const auto halves = [](std::string_view text) {
    return fuzz::halves_of({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  };
  EXPECT_EQ(halves("ab").first, "ab");
  EXPECT_EQ(halves("ab").second, "");
  EXPECT_EQ(halves(std::string_view("ab\0c\0d", 6)).first, "ab");
  EXPECT_EQ(halves(std::string_view("ab\0c\0d", 6)).second, (std::string_view("c\0d", 3)));
}

}  // namespace
}  // namespace stepless::test
