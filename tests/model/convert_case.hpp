// What the tests of convert share: places for results, and tensors compared byte for byte.
#pragma once
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "format/dtype.hpp"
#include "format/tensor_map.hpp"
#include "stepless/convert.hpp"
#include "tests/support/paths.hpp"

namespace stepless::test {

/// A place for results that the test before did not use.
inline std::string fresh(const std::string& name) {
  const std::string folder = scratch_dir("convert") + "/" + name;
  std::filesystem::remove_all(folder);
  return folder;
}

inline ConvertOptions options_of(const std::string& source, const std::string& target) {
  ConvertOptions options;
  options.source = source;
  options.target = target;
  options.force = true;
  return options;
}

inline std::vector<std::byte> bytes_of_view(const TensorView& view) {
  const std::int64_t size = bytes_of(view.shape, view.type, "test");
  return {view.data, view.data + size};
}

inline void expect_same_tensor(const TensorView& got, const TensorView& want,
                               const std::string& name) {
  EXPECT_EQ(to_string(got.type), to_string(want.type)) << name;
  EXPECT_EQ(got.shape, want.shape) << name;
  EXPECT_TRUE(bytes_of_view(got) == bytes_of_view(want)) << name;
}

inline void expect_same_tensors(const std::string& got, const std::string& want) {
  const TensorMap a = TensorMap::open(got), b = TensorMap::open(want);
  EXPECT_EQ(a.size(), b.size());
  for (const auto& [name, view] : b) {
    ASSERT_NE(a.find(name), nullptr) << name;
    expect_same_tensor(*a.find(name), view, name);
  }
}

inline Json config_of(const std::string& folder) { return read_json(folder + "/config.json"); }

}  // namespace stepless::test
