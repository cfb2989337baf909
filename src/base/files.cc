#include "base/files.hpp"

#include <filesystem>

#include "base/error.hpp"

namespace stepless {
namespace fs = std::filesystem;

bool is_listed(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (status.type() == fs::file_type::not_found) return false;
  if (error) fail(ErrorCode::not_found, "{}: {}", path, error.message());
  return true;
}

void check_folder(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::directory) return;
  if (error && status.type() != fs::file_type::not_found)
    fail(ErrorCode::not_found, "{}: {}", path, error.message());
  fail(ErrorCode::not_found, "{}: no such folder", path);
}

}  // namespace stepless
