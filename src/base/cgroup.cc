#include "base/cgroup.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

namespace stepless {
namespace {

enum class Version { v1, v2 };

struct Folders {
  Version version = Version::v2;
  std::vector<std::string> levels;  // the group's folder, then its parents up to the mount point
};

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> parts;
  while (true) {
    const std::size_t end = text.find(at);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool lists(const std::string& list, std::string_view word) {
  const std::vector<std::string> words = split(list, ',');
  return std::ranges::find(words, word) != words.end();
}

// From the group's folder up to the mount point. Inside a container the group's path may not exist
// under the mount; its files then simply cannot be opened, and the mount point's own speak.
std::vector<std::string> levels_of(const std::string& mount, const std::string& mount_root,
                                   std::string group) {
  if (mount_root != "/" && group.starts_with(mount_root)) group.erase(0, mount_root.size());
  if (group.find("/..") != std::string::npos) group.clear();  // outside of what this mount shows
  std::vector<std::string> levels;
  while (!group.empty() && group != "/") {
    levels.push_back(mount + group);
    group.erase(group.rfind('/'));
  }
  levels.push_back(mount);
  return levels;
}

// Where the files of a controller are, in each version that is mounted (a hybrid host has both).
std::vector<Folders> folders_of(const std::string& controller, const std::string& root) {
  std::vector<Folders> found;
  const std::vector<std::string> groups = lines_of(root + "/proc/self/cgroup");
  for (const std::string& line : lines_of(root + "/proc/self/mountinfo")) {
    // id parent device mount_root mount_point options [optional ...] - type source super_options
    const std::vector<std::string> parts = split(line, ' ');
    const auto dash = std::ranges::find(parts, "-");
    if (parts.size() < 6 || parts.end() - dash < 4) continue;
    const bool v2 = *(dash + 1) == "cgroup2";
    const bool v1 = *(dash + 1) == "cgroup" && lists(*(dash + 3), controller);
    if (!v1 && !v2) continue;
    for (const std::string& entry : groups) {  // number:controllers:path
      const std::size_t first = entry.find(':');
      const std::size_t second = first == std::string::npos ? first : entry.find(':', first + 1);
      if (second == std::string::npos) continue;
      const std::string controllers = entry.substr(first + 1, second - first - 1);
      const std::string group = entry.substr(second + 1);
      if (!group.starts_with('/') || (v2 ? !controllers.empty() : !lists(controllers, controller)))
        continue;
      found.push_back(
          {v2 ? Version::v2 : Version::v1, levels_of(root + parts[4], parts[3], group)});
    }
  }
  return found;
}

std::optional<std::int64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;  // absent, or "max"
}

// The value behind `key` in a file of "key value" lines; 0 when absent.
std::int64_t entry_in(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  std::string word;
  for (std::int64_t value = 0; file >> word >> value;)
    if (word == key) return value;
  return 0;
}

std::optional<double> cpus_at(const std::string& folder, Version version) {
  std::optional<std::int64_t> quota, period;
  if (version == Version::v2) {
    std::ifstream file(folder + "/cpu.max");  // "150000 100000" or "max 100000"
    std::int64_t q = 0, p = 0;
    if (file >> q >> p) quota = q, period = p;
  } else {
    quota = number_in(folder + "/cpu.cfs_quota_us");  // -1: no limit
    period = number_in(folder + "/cpu.cfs_period_us");
  }
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

std::optional<std::int64_t> free_bytes_at(const std::string& folder, Version version) {
  const bool v2 = version == Version::v2;
  const auto limit = number_in(folder + (v2 ? "/memory.max" : "/memory.limit_in_bytes"));
  const auto used = number_in(folder + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
  constexpr std::int64_t kNoLimit = std::int64_t{1} << 60;  // v1 writes almost 2^63
  if (!limit || !used || *limit >= kNoLimit) return std::nullopt;
  const std::string stat = folder + "/memory.stat";
  const std::string prefix = v2 ? "" : "total_";
  const std::int64_t cache =
      entry_in(stat, prefix + "inactive_file") + entry_in(stat, prefix + "active_file");
  return std::clamp<std::int64_t>(*limit - *used + cache, 0, *limit);
}

template <class T, class Read>
std::optional<T> least(const char* controller, const std::string& root, Read read) {
  std::optional<T> best;
  for (const Folders& folders : folders_of(controller, root))
    for (const std::string& level : folders.levels)
      if (const std::optional<T> value = read(level, folders.version))
        best = best ? std::min(*best, *value) : *value;
  return best;
}

}  // namespace

std::optional<double> cgroup_cpus(const std::string& root) {
  return least<double>("cpu", root, cpus_at);
}

std::optional<std::int64_t> cgroup_free_bytes(const std::string& root) {
  return least<std::int64_t>("memory", root, free_bytes_at);
}

}  // namespace stepless
