// The CPU backend: a team of threads walks the Program together, each taking parts of the operation
// that is open.
#pragma once
#include <memory>

#include "base/thread_team.hpp"
#include "ops/backend.hpp"
#include "ops/cpu/parts.hpp"

namespace stepless {

/// `threads`: size of the team, at least 1. Throws Error (invalid_argument).
std::unique_ptr<Backend> make_cpu_backend(int threads);
/// Backends that take turns may share a team: two would wait for each other's threads to sleep.
/// Work of less than `least_part_bytes` is not cut: tests cut all they can.
std::unique_ptr<Backend> make_cpu_backend(std::shared_ptr<ThreadTeam> team,
                                          std::int64_t least_part_bytes = kLeastPartBytes);

}  // namespace stepless
