#include "cli/private_file.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/error.hpp"
#include "cli/cli.hpp"

namespace stepless::cli {
namespace {

[[noreturn]] void cannot_write(const std::string& path, int reason) {
  throw ExitError(Exit::failed, ErrorCode::exhausted,
                  fmt::format("{}: cannot be written: {}", path, std::strerror(reason)));
}

bool write_all(int file, const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t wrote = write(file, text.data() + at, text.size() - at);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    at += static_cast<std::size_t>(wrote);
  }
  return fsync(file) == 0;
}

}  // namespace

std::optional<std::string> replaceable_file(const std::string& path) {
  std::error_code failed;
  const std::filesystem::path target = std::filesystem::weakly_canonical(path, failed);
  if (failed || (std::filesystem::exists(target, failed) &&
                 !std::filesystem::is_regular_file(target, failed)))
    return std::nullopt;
  return target.string();
}

void write_private_file(const std::string& path, const std::string& text) {
  const std::optional<std::string> target = replaceable_file(path);
  if (!target) cannot_write(path, EINVAL);
  std::string temporary = *target + ".XXXXXX";
  const int file = mkstemp(temporary.data());  // mode 0600
  if (file < 0) cannot_write(path, errno);
  const bool written = write_all(file, text);
  int reason = errno;
  close(file);
  if (written && rename(temporary.c_str(), target->c_str()) == 0) return;
  if (written) reason = errno;
  unlink(temporary.c_str());
  cannot_write(path, reason);
}

}  // namespace stepless::cli
