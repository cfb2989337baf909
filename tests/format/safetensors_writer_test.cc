#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "format/dtype.hpp"
#include "format/safetensors.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"

namespace stepless {
namespace {

namespace fs = std::filesystem;
using test::expect_error;

class Writer : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder());
    fs::create_directories(folder());
  }
  static std::string folder() { return test::scratch_dir("writer"); }
  static std::string path() { return folder() + "/model.safetensors"; }
  static std::size_t files() {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder()), fs::directory_iterator()));
  }
};

Tensor bytes_from(DType type, Shape shape, int first) {
  Tensor tensor{{}, type, std::move(shape)};
  const std::int64_t n = bytes_of(tensor.shape, type, "test");
  for (std::int64_t i = 0; i < n; ++i) tensor.data.push_back(static_cast<std::byte>(first + i));
  return tensor;
}

TEST_F(Writer, AFileForTheOwnerIsForNobodyElse) {
  const auto rights = [&](FileReaders readers) {
    SafetensorsWriter(path(), {}, {}, readers).finish();
    return fs::status(path()).permissions();
  };
  EXPECT_EQ(rights(FileReaders::owner), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_NE(rights(FileReaders::umask) & fs::perms::owner_read, fs::perms::none);
}

TEST_F(Writer, WhatIsWrittenReadsBack) {
  const Tensor a = bytes_from(DType::u32, {2, 3}, 1), b = bytes_from(DType::bf16, {0, 4}, 0),
               c = bytes_from(DType::u8, {}, 9), d = bytes_from(DType::complex64, {1}, 50);
  const std::vector<NamedView> tensors = {
      {"z", a.view()}, {"b \"quoted\"\n", b.view()}, {"c\u00e9", c.view()}, {"", d.view()}};
  write_safetensors(path(), tensors, {{"format", "mlx"}, {"note", "\u00e9\n"}});
  const SafetensorsFile file(path());
  ASSERT_EQ(file.tensors().size(), 4u);
  for (const NamedView& each : tensors) {
    const TensorView* got = file.find(each.name);
    ASSERT_NE(got, nullptr) << each.name;
    EXPECT_EQ(got->type, each.view.type);
    EXPECT_EQ(got->shape, each.view.shape);
    const std::int64_t n = bytes_of(each.view.shape, each.view.type, "test");
    if (n > 0) {
      EXPECT_EQ(std::memcmp(got->data, each.view.data, static_cast<std::size_t>(n)), 0);
    }
  }
  EXPECT_EQ(file.metadata().at("note"), "\u00e9\n");
  EXPECT_EQ(files(), 1u);  // nothing temporary left
  // The data begins at a multiple of 8, in the order given.
  EXPECT_EQ((file.find("z")->data - file.file().data()) % 8, 0);
  EXPECT_LT(file.find("z")->data, file.find("c\u00e9")->data);
}

TEST_F(Writer, NoTensorsIsAFile) {
  write_safetensors(path(), {});
  EXPECT_TRUE(SafetensorsFile(path()).tensors().empty());
}

TEST_F(Writer, StreamsInPieces) {
  SafetensorsWriter writer(path(), {{"a", DType::u8, {4}}, {"b", DType::u16, {2}}});
  writer.append("01", 2);
  EXPECT_FALSE(fs::exists(path()));  // not before it is whole
  writer.append("23ab", 4);          // across the border
  writer.append("", 0);
  writer.append("cd", 2);
  writer.finish();
  const SafetensorsFile file(path());
  EXPECT_EQ(std::memcmp(file.find("a")->data, "0123", 4), 0);
  EXPECT_EQ(std::memcmp(file.find("b")->data, "abcd", 4), 0);
}

TEST_F(Writer, AnAbandonedFileLeavesNothingAndTheOldOneStays) {
  std::ofstream(path()) << "old";
  { SafetensorsWriter writer(path(), {{"a", DType::u8, {4}}}); }
  EXPECT_EQ(files(), 1u);
  EXPECT_EQ(fs::file_size(path()), 3u);
  write_safetensors(path(), {});
  EXPECT_TRUE(SafetensorsFile(path()).tensors().empty());
}

TEST_F(Writer, BytesMustBeThoseAnnounced) {
  SafetensorsWriter writer(path(), {{"a", DType::u8, {4}}});
  expect_error(ErrorCode::invalid_argument, "5 bytes more after 0; the header announces 4",
               [&] { writer.append("01234", 5); });
  writer.append("01", 2);
  expect_error(ErrorCode::invalid_argument, "2 bytes written; the header announces 4",
               [&] { writer.finish(); });
  writer.append("23", 2);
  writer.finish();
  expect_error(ErrorCode::invalid_argument, "finished twice", [&] { writer.finish(); });
  expect_error(ErrorCode::invalid_argument, "after finish", [&] { writer.append("x", 1); });
}

TEST_F(Writer, RefusesNamesAndSizes) {
  const auto refused = [](ErrorCode code, std::string_view words, std::vector<TensorInfo> infos,
                          const Metadata& metadata = {}) {
    expect_error(code, words, [&] { SafetensorsWriter(path(), infos, metadata); });
    EXPECT_EQ(files(), 0u);
  };
  refused(ErrorCode::invalid_argument, "'a' is taken",
          {{"a", DType::u8, {1}}, {"a", DType::u8, {1}}});
  refused(ErrorCode::invalid_argument, "'__metadata__' is taken",
          {{"__metadata__", DType::u8, {1}}});
  refused(ErrorCode::invalid_argument, "-1", {{"a", DType::u8, {-1}}});
  refused(ErrorCode::exhausted, "does not fit", {{"a", DType::u8, {INT64_MAX, 2}}});
  refused(ErrorCode::exhausted, "does not fit",
          {{"a", DType::u8, {INT64_MAX}}, {"b", DType::u8, {1}}});
  refused(ErrorCode::invalid_argument, "UTF-8", {{"\xff", DType::u8, {1}}});
  refused(ErrorCode::invalid_argument, "UTF-8", {}, {{"k", "\xff"}});
}

TEST_F(Writer, SaysWhichFolderIsNotThere) {
  expect_error(ErrorCode::exhausted, "none/model.safetensors",
               [] { write_safetensors(folder() + "/none/model.safetensors", {}); });
  fs::create_directories(path());  // the name is taken by a folder
  expect_error(ErrorCode::exhausted, "cannot be put in place",
               [] { write_safetensors(path(), {}); });
  EXPECT_EQ(files(), 1u);
}

}  // namespace
}  // namespace stepless
