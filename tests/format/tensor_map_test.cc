// Hardening L4: shards, their index, and what contradicts it; L7 for a checkpoint's files.
#include "format/tensor_map.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"

namespace stepless {
namespace {

namespace fs = std::filesystem;
using test::expect_error;

class Checkpoint : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder());
    fs::create_directories(folder());
  }
  static std::string folder() { return test::scratch_dir("checkpoint"); }

  // A shard whose tensors hold one byte each: `value`.
  static void shard(const std::string& name, const std::vector<std::string>& tensors,
                    int value = 1) {
    const std::byte byte{static_cast<unsigned char>(value)};
    std::vector<NamedView> views;
    for (const std::string& tensor : tensors) views.push_back({tensor, {&byte, DType::u8, {1}}});
    write_safetensors(folder() + "/" + name, views);
  }
  static void index(const std::string& weight_map) {
    std::ofstream(folder() + "/model.safetensors.index.json")
        << R"({"metadata":{"total_size":1},"weight_map":)" << weight_map << "}";
  }
  static void refused(ErrorCode code, std::string_view words) {
    expect_error(code, words, [] { TensorMap::open(folder()); });
    expect_error(code, folder(), [] { TensorMap::open(folder()); });
  }
};

TEST_F(Checkpoint, ASingleFile) {
  shard("model.safetensors", {"b", "a"});
  shard("model-old.safetensors", {"c"});
  shard("optimizer.safetensors", {"d"});
  const TensorMap map = TensorMap::open(folder());
  EXPECT_EQ(map.size(), 2);
  EXPECT_EQ(map.bytes(), 2);
  EXPECT_EQ(map.begin()->first, "a");
  EXPECT_TRUE(map.contains("b"));
  EXPECT_EQ(map.find("c"), nullptr);
  EXPECT_EQ(map.origin(), folder());
  EXPECT_NO_THROW(map.check());
  expect_error(ErrorCode::corrupt, "no tensor 'model.norm.weight'",
               [&] { map.at("model.norm.weight"); });
}

TEST_F(Checkpoint, ShardsWithoutAnIndex) {
  shard("model-00001-of-00002.safetensors", {"a"}, 1);
  shard("model-00002-of-00002.safetensors", {"b"}, 2);
  const TensorMap map = TensorMap::open(folder());
  EXPECT_EQ(map.size(), 2);
  EXPECT_EQ(map.files().size(), 2u);
  EXPECT_EQ(map.at("b").data[0], std::byte{2});
}

TEST_F(Checkpoint, HeadersAreTrustedOverTheIndex) {
  shard("x1.safetensors", {"a", "c"}, 1);
  shard("x2.safetensors", {"b"}, 2);
  index(R"({"a":"x2.safetensors","b":"x1.safetensors","c":"x1.safetensors"})");  // a and b swapped
  const TensorMap map = TensorMap::open(folder());
  EXPECT_EQ(map.at("a").data[0], std::byte{1});
  EXPECT_EQ(map.at("b").data[0], std::byte{2});
  EXPECT_TRUE(map.notes().empty());
}

TEST_F(Checkpoint, MissingTensorsByNameAndCount) {
  shard("x.safetensors", {"a"});
  index(R"({"a":"x.safetensors","b":"x.safetensors","c":"x.safetensors"})");
  refused(ErrorCode::corrupt,
          "2 tensors listed in model.safetensors.index.json but in no file: 'b', 'c'");
}

TEST_F(Checkpoint, LongListsAreCut) {
  shard("x.safetensors", {"a"});
  std::string map = R"({"a":"x.safetensors")";
  for (int i = 0; i < 50; ++i) map += ",\"t" + std::to_string(100 + i) + "\":\"x.safetensors\"";
  index(map + "}");
  refused(ErrorCode::corrupt, "50 tensors");
  refused(ErrorCode::corrupt, "'t107' and 42 more");
}

TEST_F(Checkpoint, ExtraTensorsAreReadAndNoted) {
  shard("x.safetensors", {"a", "b"});
  shard("model-unused.safetensors", {"z"});
  index(R"({"a":"x.safetensors"})");
  const TensorMap map = TensorMap::open(folder());
  EXPECT_TRUE(map.contains("b"));
  EXPECT_FALSE(map.contains("z"));
  ASSERT_EQ(map.notes().size(), 2u);
  EXPECT_NE(map.notes()[0].find("1 tensor not listed in model.safetensors.index.json: 'b'"),
            std::string::npos);
  EXPECT_NE(map.notes()[1].find("1 file not named by"), std::string::npos);
  EXPECT_NE(map.notes()[1].find("model-unused.safetensors"), std::string::npos);
}

TEST_F(Checkpoint, DuplicateTensorsByNameAndCount) {
  shard("model-1.safetensors", {"a", "b", "c"});
  shard("model-2.safetensors", {"b", "c"});
  refused(ErrorCode::corrupt,
          "2 tensors in more than one file: 'b' in model-1.safetensors and model-2.safetensors");
  index(R"({"a":"model-1.safetensors","b":"model-2.safetensors","c":"model-2.safetensors"})");
  refused(ErrorCode::corrupt, "2 tensors in more than one file");
}

TEST_F(Checkpoint, MissingShards) {
  shard("x1.safetensors", {"a"});
  index(R"({"a":"x1.safetensors","b":"x2.safetensors","c":"x3.safetensors"})");
  refused(ErrorCode::not_found,
          "2 of 3 files named by model.safetensors.index.json not there: x2.safetensors, "
          "x3.safetensors");
}

TEST_F(Checkpoint, ShardNamesStayInTheFolder) {
  fs::create_directories(folder() + "/sub");
  for (const char* bad :
       {"../x.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "..", ".", "", "x.bin",
        ".hidden.safetensors", "a\\\\x.safetensors", "x\\u0000.safetensors"}) {
    SCOPED_TRACE(bad);
    index(R"({"a":")" + std::string(bad) + R"("})");
    refused(ErrorCode::corrupt, "expected the plain name of a .safetensors file");
  }
}

TEST_F(Checkpoint, IndexOfTheWrongForm) {
  shard("model.safetensors", {"a"});
  for (const char* bad : {"[]", "null", "3", "\"x\""}) {
    index(bad);
    refused(ErrorCode::corrupt, "no object \"weight_map\"");
  }
  index("{}");
  refused(ErrorCode::corrupt, "weight_map is empty");
  index(R"({"a":1})");
  refused(ErrorCode::corrupt, "weight_map: 'a' is number");
  index(R"({"a":"x.safetensors","a":"x.safetensors"})");
  refused(ErrorCode::corrupt, "key 'a' occurs twice");
  std::ofstream(folder() + "/model.safetensors.index.json") << "[]";
  refused(ErrorCode::corrupt, "no object \"weight_map\"");
}

TEST_F(Checkpoint, NothingToRead) {
  refused(ErrorCode::not_found, "no model.safetensors");
  std::ofstream(folder() + "/pytorch_model.bin") << "pickle";
  refused(ErrorCode::not_found, "pytorch_model.bin is not read");
  expect_error(ErrorCode::not_found, "/none: no such folder",
               [] { TensorMap::open(folder() + "/none"); });
  std::ofstream(folder() + "/file") << "";
  expect_error(ErrorCode::not_found, "/file: no such folder",
               [] { TensorMap::open(folder() + "/file"); });
}

TEST_F(Checkpoint, AMalformedShardIsNamed) {
  shard("model-1.safetensors", {"a"});
  std::ofstream(folder() + "/model-2.safetensors") << "garbage that is long enough";
  refused(ErrorCode::corrupt, "model-2.safetensors: header of");
}

TEST_F(Checkpoint, ACutShardFailsTheCheck) {
  shard("model-1.safetensors", {"a"});
  shard("model-2.safetensors", {"b"});
  const TensorMap map = TensorMap::open(folder());
  const TensorMap copy = map;
  EXPECT_NO_THROW(map.check());
  ASSERT_EQ(::truncate((folder() + "/model-2.safetensors").c_str(), 0), 0);
  EXPECT_EQ(map.at("b").data[0], std::byte{0});
  EXPECT_EQ(map.at("a").data[0], std::byte{1});
  expect_error(ErrorCode::corrupt, "model-2.safetensors: was cut while in use",
               [&] { map.check(); });
  expect_error(ErrorCode::corrupt, "model-2.safetensors", [&] { copy.check(); });
}

TEST_F(Checkpoint, ViewsOutliveTheMapThatOpenedThem) {
  shard("model.safetensors", {"a"}, 5);
  TensorMap outer;
  {
    const TensorMap inner = TensorMap::open(folder());
    outer = inner;
  }
  EXPECT_EQ(outer.at("a").data[0], std::byte{5});
  outer.drop(outer.at("a"));
  EXPECT_EQ(outer.at("a").data[0], std::byte{5});
}

TEST(TensorMap, HoldsTensorsMadeInMemory) {
  TensorMap map;
  map.add("a", Tensor{std::vector<std::byte>(8, std::byte{3}), DType::f32, {2}});
  EXPECT_EQ(map.at("a").data[7], std::byte{3});
  EXPECT_EQ(map.bytes(), 8);
  expect_error(ErrorCode::invalid_argument, "'a': the name is taken",
               [&] { map.add("a", Tensor{}); });
  const TensorMap copy = map;
  map = TensorMap();
  EXPECT_EQ(copy.at("a").data[0], std::byte{3});
  EXPECT_NO_THROW(copy.check());
  copy.drop(copy.at("a"));  // not mapped: nothing happens
  EXPECT_EQ(copy.at("a").data[0], std::byte{3});
}

TEST(TensorMap, OpensTheDemoModels) {
  for (const char* name : {"tale-4bit", "tale-draft-4bit"}) {
    const TensorMap map = TensorMap::open(test::models_dir() + "/" + name);
    EXPECT_GT(map.size(), 50);
    EXPECT_TRUE(map.notes().empty());
    EXPECT_EQ(map.at("model.embed_tokens.weight").type, DType::u32);
  }
}

TEST(TensorMap, OpensEverySharedCheckpoint) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "the shared folder is not here";
  int opened = 0;
  for (const char* kind : {"models", "families"})
    for (const auto& entry : fs::directory_iterator(*shared + "/golden/" + kind))
      if (entry.is_directory() && fs::exists(entry.path() / "config.json")) {
        EXPECT_GT(TensorMap::open(entry.path().string()).size(), 0) << entry.path();
        ++opened;
      }
  EXPECT_GT(opened, 20);
}

}  // namespace
}  // namespace stepless
