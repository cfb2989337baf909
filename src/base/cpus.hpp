// How many threads are worth starting: what the scheduler and the container allow, not what the
// machine has.
#pragma once
#include <string>

namespace stepless {

/// CPUs in this thread's affinity mask, at most the cgroup quota rounded down; at least 1.
/// `root` stands before /proc and /sys for the quota: tests put a tree of their own there.
int available_cpus(const std::string& root = "");

/// As available_cpus, with SMT siblings of one core counted once: the default of --threads.
int physical_cores(const std::string& root = "");

}  // namespace stepless
