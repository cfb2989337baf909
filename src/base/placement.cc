#include "base/placement.hpp"

#include <cstdlib>
#include <fstream>

namespace stepless {
namespace {

/// The first word of a file; "" without one.
std::string word_of(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

/// "32K", "8192K", "1M": bytes; 0 for anything else.
std::int64_t size_of_text(const std::string& text) {
  char* end = nullptr;
  const std::int64_t value = std::strtoll(text.c_str(), &end, 10);
  const std::string unit = end;
  if (value <= 0 || value > (std::int64_t{1} << 40)) return 0;
  return unit == "K" ? value << 10 : unit == "M" ? value << 20 : unit.empty() ? value : 0;
}

}  // namespace

Placement placement(const std::string& root) {
  std::ifstream file(root + "/proc/self/status");
  Placement found;
  for (std::string line; std::getline(file, line);)
    for (const auto& [key, value] : {std::pair{"Cpus_allowed_list:", &found.cpus},
                                     std::pair{"Mems_allowed_list:", &found.nodes}})
      if (line.starts_with(key))
        if (const std::size_t at = line.find_first_not_of(" \t", std::string(key).size());
            at != std::string::npos)
          *value = line.substr(at);
  return found;
}

std::vector<CpuCache> cpu_caches(const std::string& root) {
  const std::string cpus = placement(root).cpus;
  const std::string first = cpus.empty() ? "0" : cpus.substr(0, cpus.find_first_of(",-"));
  std::vector<CpuCache> caches;
  for (int index = 0; index < 16; ++index) {
    const std::string folder =
        root + "/sys/devices/system/cpu/cpu" + first + "/cache/index" + std::to_string(index) + "/";
    CpuCache cache{std::atoi(word_of(folder + "level").c_str()), word_of(folder + "type"),
                   size_of_text(word_of(folder + "size")), word_of(folder + "shared_cpu_list")};
    if (cache.level < 1 || cache.bytes == 0) break;
    caches.push_back(std::move(cache));
  }
  return caches;
}

}  // namespace stepless
