#include "base/memory.hpp"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string_view>

#include "base/cgroup.hpp"

namespace stepless {
namespace {

// The value of a line "Key:   123 kB", or -1.
std::int64_t kilobytes_in(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    try {
      return std::stoll(line.substr(key.size()));
    } catch (const std::exception&) {
      return -1;
    }
  }
  return -1;
}

std::int64_t status_bytes(std::string_view key) {
  return std::max<std::int64_t>(0, kilobytes_in("/proc/self/status", key)) * 1024;
}

}  // namespace

std::int64_t available_memory_bytes(const std::string& root) {
  const std::int64_t machine = kilobytes_in(root + "/proc/meminfo", "MemAvailable:");
  constexpr std::int64_t kUnknown = std::numeric_limits<std::int64_t>::max();
  return std::min(machine < 0 ? kUnknown : machine * 1024,
                  cgroup_free_bytes(root).value_or(kUnknown));
}

std::int64_t resident_bytes() { return status_bytes("VmRSS:"); }

std::int64_t peak_resident_bytes() { return status_bytes("VmHWM:"); }

}  // namespace stepless
