// Files that hold what a person said: readable by them alone, whole or not there.
#pragma once
#include <optional>
#include <string>

namespace stepless::cli {

/// Where a file that replaces `path` by a rename belongs: a link is followed, so that it stays one.
/// Nothing when a device, a pipe or a folder is there, which is no file to replace.
std::optional<std::string> replaceable_file(const std::string& path);

/// Writes beside `path` with mode 0600, then renames: a reader sees the old file or the new one.
/// Throws Error with the system's reason; then the old file is as it was.
void write_private_file(const std::string& path, const std::string& text);

}  // namespace stepless::cli
