// The flags of the KV cache as users meet them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {

using testing::HasSubstr;
using testing::Not;

Finished on_demo(const char* command, std::vector<std::string> more) {
  std::vector<std::string> all = {command, "--model", models_dir() + "/tale-4bit"};
  all.insert(all.end(), more.begin(), more.end());
  return run_program(STEPLESS_BINARY, {std::move(all), {}, "", 0});
}

Finished tale(std::vector<std::string> more) {
  std::vector<std::string> all = {"--prompt", "Once upon a time there was a king",
                                  "--ignore-chat-template", "--max-tokens", "90"};
  all.insert(all.end(), more.begin(), more.end());
  return on_demo("generate", all);
}

TEST(KvFlags, ADefaultStartLeavesAShortTextAsItIs) {
  const Finished plain = tale({}), packed = tale({"--kv-bits", "4"});
  EXPECT_EQ(packed.exit, 0) << packed.err;
  EXPECT_EQ(packed.out, plain.out);
  EXPECT_THAT(plain.err, Not(HasSubstr("KV cache: ")));
}

TEST(KvFlags, LlamaNamesAreTheSameCache) {
  const Finished bits = tale({"--kv-bits", "8", "--quantized-kv-start", "0"});
  const Finished types = tale({"-ctk", "q8_0", "-ctv", "q8_0", "--quantized-kv-start", "0"});
  EXPECT_EQ(bits.exit, 0) << bits.err;
  EXPECT_EQ(types.out, bits.out);
  EXPECT_THAT(types.err, HasSubstr("KV cache: "));
  EXPECT_THAT(types.err, HasSubstr("in affine 8-bit g64 ("));
  EXPECT_EQ(tale({"-ctk", "f16", "-ctv", "f16"}).out, tale({}).out);
}

TEST(KvFlags, ARotatingCacheTellsOn) {
  const Finished rotating = tale({"--max-kv-size", "40"});
  EXPECT_EQ(rotating.exit, 0) << rotating.err;
  EXPECT_THAT(rotating.err, HasSubstr("Generation: "));
  EXPECT_EQ(tale({"--max-kv-size", "200"}).out, tale({}).out);
}

TEST(KvFlags, ContradictionsAndImpossibleValuesAreUsage) {
  const std::pair<std::vector<std::string>, const char*> wrong[] = {
      {{"-ctk", "q8_0"}, "-ctk q8_0 and -ctv f16: keys and values are kept alike"},
      {{"-ctk", "q8_0", "-ctv", "q4_0"}, "-ctk q8_0 and -ctv q4_0"},
      {{"--kv-bits", "4", "-ctk", "q8_0", "-ctv", "q8_0"}, "--kv-bits 4 and -ctk q8_0"},
      {{"--kv-bits", "3"}, "--kv-bits"},
      {{"-ctk", "q5_1", "-ctv", "q5_1"}, "q5_1"},
      {{"--kv-group-size", "48"}, "--kv-group-size"},
      {{"--kv-window", "-1"}, "--kv-window"},
      {{"--max-kv-size", "4"}, "max kv size: 4; the first 4 positions are kept, so at least 5"},
      {{"--kv-bits", "4", "--kv-group-size", "128"},
       "heads of 64 elements in KV layer 0 are no multiple of a group of 128; a --kv-group-size of "
       "32 fits"}};
  for (const auto& [flags, words] : wrong) {
    const Finished done = tale(flags);
    EXPECT_EQ(done.exit, 2) << words << ": " << done.err;
    EXPECT_EQ(done.out, "");
    EXPECT_THAT(done.err, HasSubstr(words));
  }
}

TEST(KvFlags, InfoSaysWhatAPositionTakes) {
  EXPECT_THAT(on_demo("info", {}).out, HasSubstr("KV 3072 bytes per token;"));
  EXPECT_THAT(on_demo("info", {"--kv-bits", "4"}).out,
              HasSubstr("KV 3072 bytes per token, 864 as affine 4-bit g64;"));
  const Json json = parse_json(on_demo("info", {"--kv-bits", "8", "--json"}).out, "info");
  EXPECT_EQ(json["kv_packed_bytes_per_token"], 1632);
  EXPECT_EQ(json["kv_format"], "affine 8-bit g64");
}

}  // namespace
}  // namespace stepless::test
