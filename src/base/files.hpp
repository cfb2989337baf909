// Whether a file of a folder is there.
#pragma once
#include <string>

namespace stepless {

/// True when the folder has such a name, whatever it is: a link to nowhere, as a download that
/// broke off leaves it, is there and must fail when it is opened, not count as absent. Throws Error
/// (not_found) when that cannot be told, with the system's reason.
bool is_listed(const std::string& path);

/// Throws Error (not_found) unless `path` is a folder, with the system's reason where it has one.
void check_folder(const std::string& path);

}  // namespace stepless
