// Memory of the machine and of this process, in bytes.
#pragma once
#include <cstdint>
#include <string>

namespace stepless {

/// What can still be allocated without swapping: MemAvailable, at most what the container has left.
/// Throws nothing; INT64_MAX when the system does not tell. `root` as in cgroup.hpp.
std::int64_t available_memory_bytes(const std::string& root = "");

/// Resident set of this process now, and the most it has been; mapped files count while they are
/// resident.
std::int64_t resident_bytes();
std::int64_t peak_resident_bytes();

}  // namespace stepless
