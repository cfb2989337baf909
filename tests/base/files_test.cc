#include "base/files.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;

TEST(IsListed, WhateverHasTheName) {
  const std::string root = scratch_dir("files") + "/";
  std::ofstream(root + "file") << "x";
  fs::create_directories(root + "folder");
  fs::create_symlink("nowhere", root + "dangling");
  fs::create_symlink("loop", root + "loop");
  ASSERT_EQ(mkfifo((root + "pipe").c_str(), 0600), 0);
  for (const char* name : {"file", "folder", "dangling", "loop", "pipe"})
    EXPECT_TRUE(is_listed(root + name)) << name;
  EXPECT_FALSE(is_listed(root + "absent"));
  EXPECT_FALSE(is_listed(root + "absent/file"));
  EXPECT_FALSE(is_listed(root + "file/below"));
  expect_error(ErrorCode::not_found, "Too many levels", [&] { is_listed(root + "loop/below"); });
}

TEST(CheckFolder, NamesWhatIsNone) {
  const std::string root = scratch_dir("files") + "/";
  std::ofstream(root + "plain") << "x";
  EXPECT_NO_THROW(check_folder(root));
  for (const char* name : {"plain", "absent"})
    expect_error(ErrorCode::not_found, std::string(name) + ": no such folder",
                 [&] { check_folder(root + name); });
  fs::create_symlink("ring", root + "ring");
  expect_error(ErrorCode::not_found, "ring: Too many levels", [&] { check_folder(root + "ring"); });
}

}  // namespace
}  // namespace stepless::test
