// Where this process may run and what caches stand between it and memory, as the kernel tells; for
// people to read: nothing is chosen by it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace stepless {

struct CpuCache {
  int level = 0;
  std::string type;  // Data, Instruction, Unified
  std::int64_t bytes = 0;
  std::string shared_by;  // CPUs, e.g. "0-7"
};
/// Caches of the first CPU that is allowed, nearest first; empty where the kernel does not tell.
/// `root` stands before /proc and /sys: tests put a tree of their own there.
std::vector<CpuCache> cpu_caches(const std::string& root = "");

struct Placement {
  std::string cpus, nodes;  // lists of what is allowed, e.g. "0-1", "0"; empty: not told
};
Placement placement(const std::string& root = "");

}  // namespace stepless
