// stepless models: the same search as --model, listed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {
namespace fs = std::filesystem;

using testing::AllOf;
using testing::HasSubstr;

Finished models(std::vector<std::string> flags,
                std::map<std::string, std::string> environment = {}) {
  flags.insert(flags.begin(), "models");
  return run_program(STEPLESS_BINARY, {std::move(flags), std::move(environment), "", 0});
}

void put(const fs::path& folder, const std::string& config) {
  fs::create_directories(folder);
  std::ofstream(folder / "config.json") << config;
  std::ofstream(folder / "model.safetensors") << "12345";
}

OrderedJson row(const Finished& done, const std::string& name) {
  for (const OrderedJson& one : parse_ordered_json(done.out, "models"))
    if (one["name"] == name) return one;
  return nullptr;
}

TEST(ModelsCommand, ListsEveryPlaceTheSearchKnows) {
  const fs::path root = scratch_dir("models-cmd");
  put(root / "dir/mine", R"({"model_type": "llama", "dtype": "bfloat16"})");
  put(root / "dir/org/theirs",
      R"({"model_type": "qwen3", "quantization": {"bits": 8, "group_size": 32, "x": {"bits": 4}}})");
  const fs::path hub = root / "hub/models--mlx-community--Tiny-4bit";
  put(hub / "snapshots/abc",
      R"({"model_type": "gemma", "quantization": {"bits": 4, "group_size": 32, "mode": "mxfp4"}})");
  fs::create_directories(hub / "refs");
  std::ofstream(hub / "refs/main") << "abc";
  put(root / "hub/models--no--ref/snapshots/x", "{}");
  const Finished done = models({"--json", "--models-dir", (root / "dir").string()},
                               {{"HF_HUB_CACHE", (root / "hub").string()}});
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_EQ(row(done, "tale-4bit")["quantization"], "affine 4-bit g64");
  EXPECT_EQ(row(done, "mine")["quantization"], "bfloat16");
  EXPECT_EQ(row(done, "mine")["bytes"], 5);
  EXPECT_EQ(row(done, "org/theirs")["quantization"], "affine 8-bit g32, mixed");
  EXPECT_EQ(row(done, "mlx-community/Tiny-4bit")["family"], "gemma");
  EXPECT_EQ(row(done, "mlx-community/Tiny-4bit")["quantization"], "mxfp4 4-bit g32");
  EXPECT_TRUE(row(done, "no/ref").is_null());
}

TEST(ModelsCommand, OfTwoWithOneNameTheOneThatModelGets) {
  const fs::path root = scratch_dir("models-twice");
  put(root / "a/same", R"({"model_type": "first"})");
  put(root / "b/same", R"({"model_type": "second"})");
  const Finished done = models({"--json", "--models-dir", (root / "a").string()},
                               {{"STEPLESS_MODELS", (root / "b").string()}});
  EXPECT_EQ(row(done, "same")["family"], "first");
}

TEST(ModelsCommand, ACorruptOneIsListedWithItsReason) {
  const fs::path root = scratch_dir("models-bad");
  put(root / "broken", "{");
  put(root / "empty", "{}");
  const Finished table = models({"--models-dir", root.string()});
  EXPECT_EQ(table.exit, 0);
  EXPECT_THAT(table.out, AllOf(HasSubstr("name "), HasSubstr("broken"), HasSubstr("tale-4bit")));
  EXPECT_THAT(table.err,
              AllOf(HasSubstr("note: broken: "), HasSubstr("empty: config.json: no model_type")));
  EXPECT_THAT(models({"--quiet", "--models-dir", root.string()}).out, HasSubstr("\nbroken\n"));
}

}  // namespace
}  // namespace stepless::test
