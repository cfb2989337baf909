#include "tests/support/paths.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace stepless::test {
namespace fs = std::filesystem;

std::optional<std::string> shared_dir() {
  if (const char* set = std::getenv("STEPLESS_SHARED")) return std::string(set);
  const fs::path beside = fs::path(STEPLESS_SOURCE_DIR) / ".." / "shared";
  if (fs::is_directory(beside / "golden")) return beside.lexically_normal().string();
  return std::nullopt;
}

std::string golden_dir() { return std::string(STEPLESS_SOURCE_DIR) + "/tests/golden"; }

std::string models_dir() { return std::string(STEPLESS_SOURCE_DIR) + "/models"; }

std::string scratch_dir(const std::string& name) {
  struct Folder {
    fs::path root = fs::temp_directory_path() / ("stepless-test-" + std::to_string(::getpid()));
    ~Folder() {
      std::error_code ignored;
      fs::remove_all(root, ignored);
    }
  };
  static const Folder folder;
  const fs::path path = folder.root / name;
  fs::create_directories(path);
  return path.string();
}

}  // namespace stepless::test
