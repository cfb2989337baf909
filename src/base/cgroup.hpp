// The limits a container puts on this process, from cgroup v1 and v2 files. Nothing when there is
// no limit.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace stepless {

/// CPUs' worth of time per period, the least over the group and its parents; 1.5 is one and a half.
/// `root` stands before /proc and /sys: tests put a tree of their own there.
std::optional<double> cgroup_cpus(const std::string& root = "");

/// Bytes this group may still allocate: limit less use, page cache not counted as use; the least
/// over the parents.
std::optional<std::int64_t> cgroup_free_bytes(const std::string& root = "");

}  // namespace stepless
